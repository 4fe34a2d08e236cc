"""Types, ids, values, templates and credentials are repaired; what only the user knows is listed."""

from __future__ import annotations

import time
from typing import Any

import pytest

from consumer.errors import WorkflowInvalid
from handlers.coerce import coerce
from handlers.existing import recover_type
from schemas.catalog import Field, FieldType
from schemas.validator import advise, validate_workflow
from tests.unit.handlers_kit import CATALOG, answer, codes, job, log, slack, step_of, validated, workflow_of


def config_of(flow: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(node["config"] for node in flow["nodes"] if node["type"] == kind)


def test_a_missing_trigger_is_added_and_wired() -> None:
    value = validated(job("Every day at 8 tell Slack"), {"nodes": [slack()]})
    assert codes(value)[0] == "NO_TRIGGER"
    assert value["workflow"]["nodes"][0]["type"] == "schedule"


def test_ids_are_type_and_number() -> None:
    flow = workflow_of(job(), answer(slack("trigger"), slack("n1"), log("n2")))
    assert [node["id"] for node in flow["nodes"]] == ["webhook_1", "slack_message_1", "slack_message_2", "log_output_1"]


@pytest.mark.parametrize(
    ("stale", "now"),
    [("email_resend", "google_gmail"), ("log", "log_output"), ("Log-Output", "log_output")],
)
def test_stale_names_are_mapped(stale: str, now: str) -> None:
    step: dict[str, Any] = {"type": stale, "label": now.replace("_", " "), "after": "trigger"}
    step["config"] = {"message": "x", "subject": "s", "body": "b", "to": "a@example.org"}
    value = validated(job(), answer(step))
    assert value["workflow"]["nodes"][1]["type"] == now
    assert "UNKNOWN_NODE_TYPE" in codes(value)


def test_a_stale_trigger_is_still_the_trigger() -> None:
    value = validated(job(), answer(slack("trigger"), trigger={"type": "http_trigger", "config": {"method": "get"}}))
    assert config_of(value["workflow"], "webhook") == {"method": "GET"}


def test_a_type_that_means_nothing_is_left_to_the_model() -> None:
    with pytest.raises(WorkflowInvalid) as caught:
        validated(job(), answer(step_of("laser", "trigger")))
    assert [violation.code for violation in caught.value.violations] == ["UNKNOWN_NODE_TYPE"]


def test_what_the_prompt_states_is_put_in_place() -> None:
    steps = step_of("http_request", "trigger"), slack("n1"), step_of("google_gmail", "n2", subject="s", body="b")
    work = job("Fetch https://a.example/x, post to #ops in Slack and mail bob@example.org")
    flow = workflow_of(work, answer(*steps))
    assert config_of(flow, "http_request")["url"] == "https://a.example/x"
    assert config_of(flow, "slack_message")["channel"] == "#ops"
    assert config_of(flow, "google_gmail")["to"] == "bob@example.org"
    assert config_of(flow, "google_gmail")["operation"] == "send"


@pytest.mark.parametrize(
    "config",
    [
        {"slackWebhookUrl": "https://h.example/1"},
        {"slack_webhook_url": "https://h.example/1"},
        {"slack_message": {"webhookUrl": "https://h.example/1"}},
        {"webhookUrl": "https://h.example/1"},
    ],
)
def test_the_users_values_are_put_in_place(config: dict[str, Any]) -> None:
    flow = workflow_of(job(config=config), answer(slack("trigger")))
    assert config_of(flow, "slack_message")["webhookUrl"] == "https://h.example/1"
    assert flow["requiredCredentials"] == []


def test_a_key_named_plainly_goes_to_no_one_when_two_services_want_one() -> None:
    steps = step_of("openai_gpt", "trigger", prompt="x"), step_of("stripe", "n1", operation="refund")
    flow = workflow_of(job(config={"apiKey": "k-1"}), answer(*steps))
    assert config_of(flow, "stripe")["apiKey"] == "" == config_of(flow, "openai_gpt")["apiKey"]
    assert [entry["node"] for entry in flow["requiredCredentials"]] == ["openai_gpt_1", "stripe_1"]


def test_an_invented_credential_is_emptied_and_listed() -> None:
    value = validated(job(), answer(step_of("openai_gpt", "trigger", prompt="x", apiKey="sk-123")))
    assert codes(value) == ["INVENTED_CREDENTIAL"]
    assert value["workflow"]["requiredCredentials"] == [{"node": "openai_gpt_1", "field": "apiKey"}]


def test_a_placeholder_in_the_config_is_no_credential() -> None:
    flow = workflow_of(
        job(config={"openaiApiKey": "YOUR_API_KEY"}), answer(step_of("openai_gpt", "trigger", prompt="x"))
    )
    assert flow["requiredCredentials"] == [{"node": "openai_gpt_1", "field": "apiKey"}]
    assert validate_workflow(flow, CATALOG) == []


def test_a_users_url_may_hold_any_word() -> None:
    flow = workflow_of(job(config={"webhookUrl": "https://hooks.example/dummy"}), answer(slack("trigger")))
    assert validate_workflow(flow, CATALOG) == []


def test_required_fields_that_the_model_left_out_get_their_default_or_are_reported() -> None:
    flow = workflow_of(job(), answer(step_of("wait", "trigger")))
    assert config_of(flow, "wait") == {"duration": "5m"}
    with pytest.raises(WorkflowInvalid, match="MISSING_REQUIRED_FIELD"):
        validated(job(), answer(step_of("log_output", "trigger")))


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("Dear {{name}}", "Dear {{input.name}}"),
        ("{{trigger.body.name}}", "{{input.body.name}}"),
        ("{{$json.id}}", "{{input.id}}"),
        ("{{variables.lost}}", "{{input.lost}}"),
        ("{{input.ok}} {{ input.a[0].b }}", "{{input.ok}} {{ input.a[0].b }}"),
        ("{{open", "{{open"),
    ],
)
def test_references_with_one_meaning_are_rewritten(text: str, repaired: str) -> None:
    flow = workflow_of(job(), answer(slack("trigger", text)))
    assert config_of(flow, "slack_message")["message"] == repaired


def test_a_variable_that_was_set_before_is_meant_by_its_name() -> None:
    setter = step_of("set_variable", "trigger")
    setter["config"] = {"name": "limit", "value": "3"}
    flow = workflow_of(job(), answer(setter, slack("n1", "{{limit}} {{variables.limit}}")))
    assert config_of(flow, "slack_message")["message"] == "{{variables.limit}} {{variables.limit}}"


def test_a_reference_without_meaning_is_left_to_the_model() -> None:
    with pytest.raises(WorkflowInvalid, match="BROKEN_TEMPLATE_REFERENCE"):
        validated(job(), answer(slack("trigger", "{{1 + 1}}")))


def test_a_form_is_completed() -> None:
    fields = [
        {"question": "Your mail", "kind": "email", "required": True},
        {"label": "Your mail", "type": "select", "required": "false"},
        {"name": "city", "type": "select", "options": ["A", "B"]},
        "junk",
    ]
    start = {"type": "form", "config": {"formTitle": "T", "formDescription": "D", "fields": fields}}
    flow = workflow_of(job("When the form is sent, tell Slack"), answer(slack("trigger"), trigger=start))
    form = config_of(flow, "form")
    assert [(field["name"], field["type"], field["required"]) for field in form["fields"]] == [
        ("your_mail", "email", True),
        ("your_mail_2", "text", False),
        ("city", "select", False),
    ]
    assert (form["submitButtonText"], form["redirectUrl"]) == ("Submit", "")


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("number", "5", 5),
        ("number", " 2.5 ", 2.5),
        ("number", "five", "five"),
        ("number", "1e999", "1e999"),
        ("number", "{{input.n}}", "{{input.n}}"),
        ("boolean", "True", True),
        ("boolean", 0, False),
        ("boolean", "perhaps", "perhaps"),
        ("array", '["a", 1]', ["a", 1]),
        ("array", "a, b", ["a", "b"]),
        ("array", {"a": 1}, [{"a": 1}]),
        ("array", "", ""),
        ("object", '{"a": 1}', {"a": 1}),
        ("object", [{"name": "a", "value": "1"}], {"a": "1"}),
        ("object", "plain", "plain"),
        ("string", 5, "5"),
        ("string", True, "true"),
        ("string", ["a"], '["a"]'),
        ("string", None, None),
    ],
)
def test_values_are_brought_to_their_type(kind: FieldType, before: Any, after: Any) -> None:
    result = coerce(Field("f", kind), before)
    assert result == after and type(result) is type(after)


def test_labels_lose_the_half_word_at_the_schemas_bound_and_control_characters() -> None:
    step = {**slack("trigger"), "label": "Tell everyone in the team ab"}
    flow = workflow_of(job(), answer(step, {**log("n1"), "label": "\x1b[31mred"}))
    assert [node["label"] for node in flow["nodes"]][1:] == ["Tell everyone in the team", "red"]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Every day at 9:30 Europe/Nowhere tell Slack", {"time": "09:30", "timezone": "Asia/Kolkata"}),
        ("Every 0 minutes tell Slack", {"interval": "5m"}),
        ("Every 010 minutes tell Slack", {"interval": "10m"}),
    ],
)
def test_a_stated_time_that_the_engine_cannot_read_is_replaced(prompt: str, expected: dict[str, str]) -> None:
    trigger: dict[str, Any] = {"type": "schedule" if "time" in expected else "interval", "config": {}}
    assert workflow_of(job(prompt), answer(slack("trigger"), trigger=trigger))["nodes"][0]["config"] == expected


@pytest.mark.parametrize(("written", "meant"), [("Every 10 minutes", "10m"), ("sometimes", "5m"), ("1h", "1h")])
def test_an_old_interval_is_read_and_a_senseless_one_replaced(written: str, meant: str) -> None:
    flow = workflow_of(job(), answer(slack("trigger")))
    flow["nodes"][0] |= {"type": "interval", "config": {"interval": written}}
    value = validated(job(mode="edit", current_workflow=flow), {"explanation": "Nothing."})
    assert config_of(value["workflow"], "interval") == {"interval": meant}
    assert codes(value) == (["INVALID_OPTION"] if written != meant else [])


def test_a_reference_in_place_of_an_option_stays() -> None:
    flow = workflow_of(
        job(), answer(slack("trigger"), step_of("log_output", "n1", message="x", level="{{input.level}}"))
    )
    assert config_of(flow, "log_output")["level"] == "{{input.level}}"


def test_an_id_of_many_parts_costs_about_as_much_as_another() -> None:
    def seconds(node_id: str) -> float:
        began = time.perf_counter()
        assert recover_type(node_id, "", ["custom"], CATALOG) == "custom"
        return time.perf_counter() - began

    plain, parted = (min(seconds(char * 20_000) for _ in range(5)) for char in "x_")
    assert parted <= 100 * plain


def test_choices_of_a_form_field_written_as_text_become_a_list() -> None:
    fields = [{"label": "Colour", "type": "select", "options": "red, green"}, {"label": "Size", "type": "radio"}]
    start = {"type": "form", "config": {"formTitle": "T", "formDescription": "D", "fields": fields}}
    flow = workflow_of(job("When the form is sent, tell Slack"), answer(slack("trigger"), trigger=start))
    colour, size = config_of(flow, "form")["fields"]
    assert (colour["type"], colour["options"]) == ("select", ["red", "green"])
    assert (size["type"], "options" in size) == ("text", False)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [("webhook", "method", "POST"), ("interval", "interval", "5m"), ("schedule", "timezone", "Asia/Kolkata")],
)
def test_a_template_in_a_trigger_gives_way_to_the_default(kind: str, field: str, value: str) -> None:
    start = {"type": kind, "config": {field: "{{input.x}}"}}
    flow = workflow_of(job("Do it"), answer(slack("trigger"), trigger=start))
    assert config_of(flow, kind)[field] == value


def test_a_long_reference_that_the_engine_cannot_read_is_rewritten() -> None:
    flow = workflow_of(job(), answer(slack("trigger", message="{{trigger." + "a" * 300 + "}}")))
    assert config_of(flow, "slack_message")["message"] == "{{input." + "a" * 300 + "}}"


def test_a_secret_that_was_invented_for_a_header_is_emptied_and_one_from_the_config_stays() -> None:
    headers = {"Authorization": "Bearer sk-invented", "X-Api-Key": "given-by-the-user", "Accept": "text/html"}
    call = step_of("http_request", "trigger", url="https://a.example", headers=headers)
    value = validated(job("Call https://a.example", config={"apiKey": "given-by-the-user"}), answer(call))
    config = config_of(value["workflow"], "http_request")
    assert config["headers"] == {"Authorization": "", "X-Api-Key": "given-by-the-user", "Accept": "text/html"}
    assert value["workflow"]["requiredCredentials"] == [{"node": "http_request_1", "field": "headers.Authorization"}]
    assert not [warning for warning in advise(value["workflow"], CATALOG) if warning.code == "NEEDLESS_ENTRY"]
    assert "INVENTED_CREDENTIAL" in codes(value)
