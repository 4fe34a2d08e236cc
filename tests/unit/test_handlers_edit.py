"""Edit mode changes what is asked and keeps the rest: ids, positions, configs; nothing is lost in silence."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import WorkflowInvalid
from consumer.job import Job, JsonObject
from handlers.edit_words import removable
from handlers.editing import apply_edit
from handlers.existing import read_existing, recover_type
from schemas.subject import Known
from tests.unit.handlers_kit import CATALOG, codes, job, model_step, routes, slack, validated

URL = "https://hooks.example/T1"
FLAT: JsonObject = {
    "name": "Orders",
    "summary": "Routes orders.",
    "nodes": [
        {"id": "start", "type": "webhook", "label": "In", "position": {"x": 0, "y": 7}, "config": {"method": "POST"}},
        {
            "id": "tell",
            "type": "slack_message",
            "label": "Tell",
            "position": {"x": 300, "y": 7},
            "config": {"webhookUrl": URL, "message": "Old", "extra": [1]},
        },
        {"id": "end", "type": "log_output", "label": "Log", "position": {"x": 600, "y": 7}, "config": {"message": "m"}},
    ],
    "edges": [{"id": "a", "source": "start", "target": "tell"}, {"id": "b", "source": "tell", "target": "end"}],
}


def edit(prompt: str = "Change the message", workflow: JsonObject | None = None, **columns: Any) -> Job:
    return job(prompt, mode="edit", current_workflow=FLAT if workflow is None else workflow, **columns)


def result(answer: JsonObject, work: Job | None = None) -> JsonObject:
    flow: JsonObject = validated(work or edit(), answer)["workflow"]
    return flow


def test_a_change_touches_only_what_it_names() -> None:
    flow = result({"explanation": "New text.", "change": [{"id": "tell", "config": {"message": "New"}}]})
    assert flow["nodes"][1] == {**FLAT["nodes"][1], "config": {"webhookUrl": URL, "message": "New", "extra": [1]}}
    assert (flow["nodes"][0], flow["nodes"][2]) == (FLAT["nodes"][0], FLAT["nodes"][2])
    assert flow["edges"] == FLAT["edges"]
    assert flow["explanation"] == "New text."


def test_a_new_node_gets_a_free_id_and_a_free_place() -> None:
    flow = result({"explanation": "x", "add": {"n1": slack("tell")}}, edit("Add a message"))
    assert flow["nodes"][:3] == FLAT["nodes"]
    new = flow["nodes"][3]
    assert new["id"] == "slack_message_1"
    assert (new["position"]["x"], new["position"]["y"]) not in [
        (n["position"]["x"], n["position"]["y"]) for n in FLAT["nodes"]
    ]
    assert ("tell", "slack_message_1", None) in routes(flow)
    assert flow["requiredCredentials"] == [{"node": "slack_message_1", "field": "webhookUrl"}]


def test_new_nodes_may_follow_each_other() -> None:
    flow = result({"explanation": "x", "add": {"n1": slack("end"), "n2": slack("n1")}}, edit("Add two"))
    assert routes(flow)[2:] == [("end", "slack_message_1", None), ("slack_message_1", "slack_message_2", None)]


def test_a_removed_node_is_bridged_and_told() -> None:
    flow = result(
        {"explanation": "Less noise.", "remove": ["tell", "start", "nobody"]}, edit("Remove the Slack message")
    )
    assert routes(flow) == [("start", "end", None)]
    assert flow["explanation"] == "Less noise. Removed: Tell (tell)."


def test_an_answer_that_says_nothing_changes_nothing() -> None:
    flow = result({"change": "x", "add": [], "remove": {"a": 1}})
    assert flow["nodes"] == FLAT["nodes"] and flow["edges"] == FLAT["edges"]
    assert flow["explanation"]


def test_credentials_of_the_workflow_to_edit_are_the_users() -> None:
    assert result({"explanation": "x"})["nodes"][1]["config"]["webhookUrl"] == URL


def test_an_invented_credential_in_a_change_does_not_replace_the_users() -> None:
    flow = result({"explanation": "x", "change": [{"id": "tell", "config": {"webhookUrl": "https://evil.example"}}]})
    assert flow["nodes"][1]["config"]["webhookUrl"] == URL


def test_old_editors_types_are_recovered_and_values_coerced() -> None:
    old = {
        "nodes": [
            {
                "id": "interval_1",
                "type": "custom",
                "position": {"x": 1, "y": 2},
                "data": {"type": "custom", "label": "Tick", "config": {"interval": "5m"}},
            },
            {"id": "x9", "type": "custom", "data": {"type": "limit", "label": "Few", "config": {"limit": "3"}}},
            {"id": "y", "type": "custom", "label": "Log output", "config": {"message": 5}},
        ],
        "edges": [{"id": "e", "source": "interval_1", "target": "x9"}, {"id": "e", "source": "x9", "target": "y"}],
    }
    value = validated(edit("Change it", old), {"explanation": "x"})
    flow = value["workflow"]
    assert [node["type"] for node in flow["nodes"]] == ["interval", "limit", "log_output"]
    assert flow["nodes"][1]["config"] == {"limit": 3}
    assert flow["nodes"][2]["config"] == {"message": "5"}
    assert flow["nodes"][0]["position"] == {"x": 1, "y": 2}
    assert len({edge["id"] for edge in flow["edges"]}) == 2
    assert {"UNKNOWN_NODE_TYPE", "INVALID_FIELD_TYPE"} <= set(codes(value))


@pytest.mark.parametrize(
    ("node_id", "label", "said", "kind"),
    [
        ("slack_message_3", "", "custom", "slack_message"),
        ("if-else-1700", "", "custom", "if_else"),
        ("if_else-1700", "", "custom", "if_else"),
        ("n7", "Google Sheets", "custom", "google_sheets"),
        ("slack_message_3", "Telegram", "telegram", "telegram"),
        ("n7", "Whatever", "custom", "custom"),
    ],
)
def test_the_type_is_recovered_from_id_or_label(node_id: str, label: str, said: str, kind: str) -> None:
    assert recover_type(node_id, label, [said], CATALOG) == kind


def test_a_hostile_workflow_to_edit_is_read() -> None:
    raw = {"nodes": [{"id": 5}, "x", {"id": "a\x00", "type": 1, "position": {"x": "1"}, "data": []}], "edges": [1, {}]}
    draft = read_existing(raw, CATALOG)
    assert [node.id for node in draft.nodes] == ["5", "a"]
    assert draft.nodes[1].position is None


def schema_of(prompt: str) -> JsonObject:
    schema: JsonObject = model_step("edit", "generate").request(edit(prompt), {}, 0).schema["properties"]
    return schema


def test_only_the_kinds_of_change_that_the_words_speak_of_are_possible() -> None:
    assert set(schema_of("Change the text to hello")) == {"explanation", "change"}
    assert set(schema_of("Add a Telegram message")) == {"explanation", "add"}
    assert set(schema_of("Put a filter between In and Tell")) == {"explanation", "add"}
    assert set(schema_of("Remove the log")) == {"explanation", "change", "remove"}
    assert set(schema_of("Replace Slack by Discord")) == {"explanation", "add", "change", "remove"}
    assert set(schema_of("better please")) == {"explanation", "change"}


def test_only_existing_nodes_can_be_named() -> None:
    schema = schema_of("Replace Slack by Discord")
    assert schema["remove"]["items"] == {"enum": ["tell"]}
    assert schema_of("Delete a step")["remove"]["items"] == {"enum": ["tell", "end"]}
    assert schema["add"]["properties"]["n1"]["properties"]["type"] == {"const": "discord_webhook"}
    assert schema["add"]["properties"]["n1"]["properties"]["after"]["enum"] == ["start", "tell", "end"]


def test_the_model_sees_the_workflow_without_its_credentials() -> None:
    text = model_step("edit", "generate").request(edit(), {}, 0).messages[-1].content
    assert "tell (slack_message) Tell" in text and "start -> tell" in text
    assert URL not in text


@pytest.mark.parametrize(
    "prompt",
    [
        "Remove the Slack message",
        "please get rid of Tell",
        "Post to Discord instead of Slack",
        "Lösche den Slack-Schritt",
        "Elimina el paso de Slack",
        "Supprime l'étape Slack",
        "Slackを削除して",
        "The slack_message should be removed",
        "Delete all steps",
        "Drop the second step",
        "Remove all steps except the log",
        "Keep Log and remove the rest",
        "Entferne den Slack-Schritt",
    ],
)
def test_a_node_goes_when_the_words_ask_for_it(prompt: str) -> None:
    assert "tell" not in {node["id"] for node in result({"remove": ["tell"]}, edit(prompt))["nodes"]}


@pytest.mark.parametrize(
    "prompt",
    [
        "Add a Dropbox step",
        "Add a step that deletes the row",
        "Also report removed users",
        "Do not delete the Slack message, change its text",
        "Remove the log",
        "Write the text without emojis",
        "Lösche nicht, füge hinzu",
        "Remove the webhook",
        "Remove all steps except the Slack message",
        "Keep the Slack message, remove the log",
        "Change the message",
        "",
    ],
)
def test_a_node_stays_when_the_words_do_not(prompt: str) -> None:
    value = validated(edit(prompt or " "), {"remove": ["tell"]})
    assert value["workflow"]["nodes"][:3] == FLAT["nodes"]
    assert codes(value) == ["LOST_NODE"]


def test_a_change_that_the_request_does_not_name_is_told_and_one_that_it_names_is_not() -> None:
    both = [{"id": "tell", "config": {"message": "New"}}, {"id": "end", "config": {"message": "New"}}]
    told = "Also changed, though the request does not name it: Log (end)."
    assert result({"change": both}, edit("Make the Slack text New"))["explanation"].endswith(told)
    repeated = {"n1": {"id": "end", "type": "log_output", "config": {"message": "New"}}}
    assert told in result({"add": repeated}, edit("Make the Slack text New"))["explanation"]
    for prompt in ("Make the Slack text and the log New", "Say New everywhere"):
        assert "Also changed" not in result({"change": both}, edit(prompt))["explanation"]
    same = [{"id": "end", "config": {"message": "m"}}]
    assert result({"change": [both[0], *same]}, edit("Make the Slack text New"))["explanation"].count("changed") == 1


def chain(steps: int, width: int = 1) -> JsonObject:
    """A webhook, so many log lines in a row, and as many other ends behind the last of them as wanted."""
    log = FLAT["nodes"][2]
    names = [f"log_output_{number}" for number in range(steps + width - 1)]
    nodes = [FLAT["nodes"][0], *({**log, "id": name, "position": {"x": 0, "y": 0}} for name in names)]
    ways = [*pairwise(["start", *names[:steps]]), *((names[steps - 1], name) for name in names[steps:])]
    edges = [{"id": f"e{number}", "source": one, "target": two} for number, (one, two) in enumerate(ways)]
    return {**FLAT, "nodes": nodes, "edges": edges}


def test_removing_more_nodes_than_an_explanation_can_name_is_no_silent_loss() -> None:
    flow = chain(600)
    names = [node["id"] for node in flow["nodes"][1:]]
    value = validated(edit("Remove all steps", flow), {"explanation": "x" * 3000, "remove": names[:-1]})
    left = {node["id"] for node in value["workflow"]["nodes"]}
    assert {"start", names[-1]} < left and len(left) < 520
    assert len(value["workflow"]["explanation"]) <= 4000
    assert set(codes(value)) == {"LOST_NODE"}
    assert "Ask again for the rest." in value["repairs"][-1]["message"]


def test_a_node_that_joins_very_many_steps_stays_when_it_is_to_be_removed() -> None:
    flow = chain(1, width=300)
    flow["nodes"] += [{**FLAT["nodes"][0], "id": f"in_{number}"} for number in range(3)]
    flow["edges"] += [{"id": f"i{n}", "source": f"in_{n}", "target": "log_output_0"} for n in range(3)]
    value = validated(edit("Remove log_output_0", flow), {"remove": ["log_output_0"]})
    assert len(value["workflow"]["edges"]) == len(flow["edges"])
    assert value["repairs"][0]["message"].endswith("stays: it joins too many steps.")


def test_removing_is_linear_in_the_number_of_nodes() -> None:
    def seconds(steps: int) -> float:
        draft = read_existing(chain(steps), CATALOG)
        began = time.process_time()
        apply_edit(draft, {"remove": list(draft.ids)}, Known(prompt="Remove all steps"))
        return time.process_time() - began

    seconds(150)
    assert min(seconds(1500) for _ in range(3)) <= 20 * min(seconds(150) for _ in range(3))


NAMES = st.sampled_from(["start", "tell", "end", "TELL", "log_output", "n1", "", "nobody"])
VALUES = st.one_of(st.none(), st.text(max_size=5), st.integers(-9, 9), st.lists(st.text(max_size=3), max_size=2))
CONFIGS = st.dictionaries(st.sampled_from(["message", "webhookUrl", "extra", "id", "type"]), VALUES, max_size=3)
NEW = st.fixed_dictionaries(
    {"type": st.sampled_from(["telegram", "log_output", "if_else"]), "after": NAMES, "config": CONFIGS}
)
ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "explanation": VALUES,
        "change": st.one_of(VALUES, st.lists(st.fixed_dictionaries({"id": NAMES, "config": CONFIGS}), max_size=3)),
        "add": st.one_of(VALUES, st.dictionaries(NAMES, NEW, max_size=3), st.lists(NEW, max_size=2)),
        "remove": st.one_of(VALUES, st.lists(NAMES, max_size=4)),
    },
)


@given(ANSWERS)
def test_no_answer_loses_moves_or_retypes_a_node_of_an_edit_that_only_adds(answer: JsonObject) -> None:
    try:
        flow = result(answer, edit("Add a Telegram message"))
    except WorkflowInvalid as invalid:
        assert "LOST_NODE" not in {violation.code for violation in invalid.violations}
        return
    kept = [(node["id"], node["type"], node["position"]) for node in flow["nodes"][:3]]
    assert kept == [(node["id"], node["type"], node["position"]) for node in FLAT["nodes"]]
    assert flow["nodes"][1]["config"]["webhookUrl"] == URL


def test_a_long_prompt_for_a_large_workflow_is_read_in_bounded_time() -> None:
    node = FLAT["nodes"][2]
    nodes = [*FLAT["nodes"], *({**node, "id": f"log_{i}", "label": f"Step {i}"} for i in range(500))]
    for piece in ("keep ", "remove the step ", "no remove ", "lösche ", "except "):
        draft = read_existing({**FLAT, "nodes": nodes}, CATALOG)
        removable(draft, (piece * 20_000)[:20_000], draft.nodes)
