"""The requests of the model steps: bounded, deterministic, static text first, and only what the job may contain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from consumer.errors import InputInvalid, Violation, WorkflowInvalid
from consumer.job import JsonObject
from consumer.ports import ModelRequest
from handlers.messages import MAX_PROMPT
from handlers.registry import handler_for
from tests.unit.handlers_kit import ANALYSIS, CATALOG, job, model_step

BRANCHY = "When the form is sent, if the amount is big, ask for approval in Slack, otherwise add a row to Google Sheets"
DONE = {"analyze": ANALYSIS}


def generated(prompt: str, attempt: int = 0, **columns: Any) -> ModelRequest:
    return model_step("create", "generate").request(job(prompt, **columns), DONE, attempt)


def parts(schema: JsonObject) -> Iterator[JsonObject]:
    yield schema
    for child in (*schema.get("properties", {}).values(), *schema.get("anyOf", ()), schema.get("items")):
        if child:
            yield from parts(child)


@pytest.mark.parametrize("node", [node.name for node in CATALOG if not node.trigger])
def test_every_type_can_be_asked_for_in_a_bounded_way(node: str) -> None:
    from handlers.facts import Facts
    from handlers.shape import MAX_TOKENS, step, worst_tokens

    schema = step(CATALOG[node], Facts(), ["trigger"])
    Draft202012Validator.check_schema(schema)
    for part in parts(schema):
        assert not {"pattern", "minimum", "maximum", "$ref", "format"} & set(part)
        if part.get("type") == "string":
            assert 0 < part["maxLength"] <= 120
        if part.get("type") == "array":
            assert 0 < part["maxItems"] <= 5
        if part.get("type") == "object":
            assert part["additionalProperties"] is False and part["properties"]
    assert worst_tokens(schema, dense=False) < MAX_TOKENS * 0.6
    credentials = {field.name for field in CATALOG[node].fields if field.from_user}
    assert not credentials & set(schema["properties"].get("config", {}).get("properties", {}))


def test_the_schema_fixes_the_trigger_and_the_named_types() -> None:
    schema = generated(BRANCHY).schema["properties"]
    assert schema["trigger"]["properties"]["type"] == {"const": "form"}
    kinds = [step["properties"]["type"]["const"] for step in schema["nodes"]["properties"].values()]
    assert kinds == ["if_else", "human_approval", "slack_message", "google_sheets"]
    assert schema["nodes"]["required"] == ["n1", "n2", "n3", "n4"]


def test_the_words_decide_which_way_a_step_stands_on() -> None:
    nodes = generated(BRANCHY).schema["properties"]["nodes"]["properties"]
    after = [step["properties"]["after"]["enum"] for step in nodes.values()]
    assert after == [["trigger"], ["n1.true"], ["n2"], ["n1.false"]]


def test_things_side_by_side_may_follow_any_earlier_step() -> None:
    nodes = generated("Read MySQL and MongoDB in parallel and tell Slack").schema["properties"]["nodes"]["properties"]
    assert nodes["n3"]["properties"]["after"]["enum"] == ["n2", "n1", "trigger"]


def test_a_merge_may_follow_several_steps() -> None:
    nodes = generated("Read MySQL and MongoDB, then merge both").schema["properties"]["nodes"]["properties"]
    assert nodes["n3"]["properties"]["after"]["maxItems"] == 3


def test_what_the_prompt_states_is_not_asked() -> None:
    nodes = generated("Fetch https://a.example/x and log it").schema["properties"]["nodes"]["properties"]
    assert "config" not in nodes["n1"]["properties"]


def test_a_prompt_that_names_nothing_has_a_choice() -> None:
    nodes = generated(
        "Do something useful",
    ).schema["properties"]["nodes"]
    assert nodes["required"] == ["n1"]
    assert len(nodes["properties"]["n1"]["anyOf"]) >= 2 or nodes["properties"]["n1"]["properties"]


def test_equal_arguments_give_equal_requests_and_attempts_differ() -> None:
    assert generated(BRANCHY) == generated(BRANCHY)
    first, second = generated(BRANCHY), generated(BRANCHY, attempt=1)
    assert (first.messages, first.schema) == (second.messages, second.schema)
    assert first.seed != second.seed and first.temperature < second.temperature <= 1.0
    assert generated(BRANCHY, attempt=50).temperature == 1.0


def test_the_jobs_own_text_comes_last() -> None:
    one, two = generated("Tell Slack"), generated("Tell Discord")
    assert one.messages[:3] == two.messages[:3]
    assert one.messages[-1].content.endswith("Request:\nTell Slack")


def test_requests_fit_a_context_of_4096_tokens() -> None:
    for prompt in (BRANCHY, "word " * 4000, "天気" * 10_000, "Slack Telegram Discord Stripe Jira Notion Trello " * 100):
        request = generated(prompt)
        text = "".join(message.content for message in request.messages)
        rare = sum(char > "\u02ff" for char in text)
        assert (len(text) - rare) / 3.5 + 2.5 * rare + request.max_tokens < 4096
        assert len(json.dumps(request.schema)) < 20_000


def test_a_long_prompt_keeps_its_beginning_and_its_end() -> None:
    text = generated("A" + "x" * 19_000 + "Z").messages[-1].content
    assert "A" in text and text.endswith("Z") and len(text) < MAX_PROMPT + 1000


def test_failed_runs_are_told() -> None:
    history = [{"id": 1, "status": "failed", "error": "429 Too \x00Many"}, {"status": "ok"}]
    assert "- 429 Too Many" in generated("Tell Slack", execution_history=history).messages[-1].content


def test_config_values_never_reach_the_model() -> None:
    request = generated("Tell Slack", config={"slackWebhookUrl": "https://secret.example"})
    assert "secret.example" not in str(request)


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({"prompt": "  \n"}, "prompt"),
        ({"prompt": "x" * 20_001}, "prompt"),
        ({"mode": "edit"}, "current_workflow"),
        ({"mode": "edit", "current_workflow": {"nodes": []}}, "current_workflow"),
        ({"mode": "edit", "current_workflow": {"nodes": 5}}, "current_workflow"),
    ],
)
def test_a_job_that_cannot_be_worked_on_is_refused_at_once(columns: dict[str, Any], field: str) -> None:
    with pytest.raises(InputInvalid) as caught:
        model_step("create", "analyze").request(job(**columns), {}, 0)
    assert caught.value.field == field


def test_the_analysis_is_bounded() -> None:
    request = model_step("create", "analyze").request(job(), {}, 0)
    assert request.max_tokens < 700
    assert "$schema" not in request.schema


def test_a_repair_shows_the_answer_and_each_violation_once() -> None:
    handler = handler_for("create")
    wrong = [
        Violation("MISSING_REQUIRED_FIELD", "/a", "Log needs message.", "Fill message."),
        Violation("X", "/b", "Log needs message.", "Fill message."),
    ]
    step = handler.repair(job(), {**DONE, "generate": {"name": "Old"}}, WorkflowInvalid(wrong))
    assert step is not None and step.name == "generate"
    request = step.request(job(), DONE, 1)
    said, told = request.messages[-2:]
    assert (said.role, json.loads(said.content)) == ("assistant", {"name": "Old"})
    assert told.content.count("Log needs message. Fill message.") == 1
    assert request.schema == generated(job().prompt).schema
    assert step.read(job(), DONE, '{"name": "New"}') == {"name": "New"}


def longest(schema: JsonObject, char: str) -> Any:
    """The longest answer that a schema allows, with this character all over its free text."""
    if "anyOf" in schema:
        return max((longest(option, char) for option in schema["anyOf"]), key=lambda answer: len(printed(answer)))
    if "const" in schema or "enum" in schema:
        return max(schema.get("enum", [schema.get("const")]), key=lambda value: len(str(value)))
    match schema["type"]:
        case "object":
            return {name: longest(part, char) for name, part in schema["properties"].items()}
        case "array":
            return [longest(schema["items"], char)] * int(schema["maxItems"])
        case "string":
            return char * int(schema["maxLength"])
        case kind:
            return {"integer": -(10**10), "boolean": False}[kind]


def printed(answer: Any) -> str:
    return json.dumps(answer, indent=4)


WORKFLOW = {"nodes": [{"id": f"slack_{i}", "type": "slack_message", "label": f"Tell {i}"} for i in range(9)]}
EDIT = {"mode": "edit", "current_workflow": WORKFLOW}


@pytest.mark.parametrize("prompt", [BRANCHY, "Do it", "Merge Slack Telegram Discord Stripe and Jira", "朝天気を"])
@pytest.mark.parametrize(
    ("step", "columns"), [(("create", "analyze"), {}), (("create", "generate"), {}), (("edit", "generate"), EDIT)]
)
def test_no_answer_of_the_schema_is_longer_than_the_request_says(
    step: tuple[str, str], columns: dict[str, Any], prompt: str
) -> None:
    request = model_step(*step).request(job(prompt, **columns), DONE, 0)
    char = "\u5929" if prompt[0] == "朝" else '"'
    assert len(printed(longest(request.schema, char))) <= request.max_chars
    # A model that is not held to the schema and writes prose, of four characters a token, is cut before its limit.
    assert request.max_chars < 4 * request.max_tokens
