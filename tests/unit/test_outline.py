"""A workflow in words: what people read in a terminal, and what they must never read there."""

from __future__ import annotations

from consumer.job import JsonObject
from handlers.outline import outline
from tests.unit.handlers_kit import CATALOG, answer, job, log, slack, step_of, workflow_of

SECRET = "https://hooks.slack.com/services/T0/B0/s3cr3t"


def test_an_outline_tells_purpose_trigger_order_branches_settings_and_what_is_missing() -> None:
    steps = (step_of("if_else", "trigger", condition="x"), slack("n1.true"), log("n1.false"))
    assert outline(workflow_of(job(), answer(*steps)), CATALOG).splitlines() == [
        "Test",
        "Does it.",
        "Starts with: Start [webhook]",
        "",
        "Start [webhook]",
        '     method: "POST"',
        "↓ if_else [if_else]",
        '│    condition: "x"',
        "├─ true: slack_message [slack_message]",
        '│       message: "hi"',
        "│       webhookUrl: (to be filled in)",
        "└─ false: log_output [log_output]",
        '        message: "x"',
        "",
        "To be filled in:",
        "  slack_message_1: webhookUrl",
    ]


def test_a_credential_that_was_given_is_not_shown() -> None:
    flow = workflow_of(job(config={"slackWebhookUrl": SECRET}), answer(slack()))
    assert flow["nodes"][1]["config"]["webhookUrl"] == SECRET
    text = outline(flow, CATALOG)
    assert "webhookUrl: (filled in, not shown)" in text
    assert SECRET not in text


def test_what_is_named_like_a_secret_is_not_shown_though_the_catalogue_does_not_know_it() -> None:
    config: JsonObject = {
        "url": "https://x.y", "method": "GET", "headers": {"Authorization": SECRET, "accept": "text/html"},
        "apiToken": SECRET, "more": [{"client_secret": SECRET, "author": "Ann"}],
    }  # fmt: skip
    flow = workflow_of(job(), answer(log()))
    flow["nodes"][1] |= {"type": "http_request", "config": config}
    text = outline(flow, CATALOG)
    assert SECRET not in text
    assert "text/html" in text and '"author": "Ann"' in text and "apiToken: (filled in, not shown)" in text


def test_a_credential_stays_hidden_when_its_node_has_become_one_of_another_type() -> None:
    flow = workflow_of(job(config={"slackWebhookUrl": SECRET}), answer(slack()))
    flow["nodes"][1]["type"] = "noop"
    assert SECRET not in outline(flow, CATALOG)


def test_texts_of_the_model_stay_on_their_line_and_move_no_cursor() -> None:
    evil = "\x1b[2Jevil\r\nline\u202e" + "x" * 500
    flow = workflow_of(job(), answer(log()))
    usual = len(outline(flow, CATALOG).splitlines())
    flow["nodes"][1]["config"] = {evil: evil}
    flow["name"] = flow["summary"] = flow["nodes"][0]["label"] = evil
    flow["summary"] += "!"
    flow["requiredCredentials"] = []
    text = outline(flow, CATALOG)
    assert len(text.splitlines()) == usual
    assert not {"\x1b", "\r", "\u202e"} & set(text)
    assert max(map(len, text.splitlines())) <= 500


def test_a_summary_that_only_repeats_the_name_is_not_told() -> None:
    flow = workflow_of(job(), answer(log()))
    flow["summary"] = flow["name"]
    assert outline(flow, CATALOG).splitlines()[1].startswith("Starts with:")
