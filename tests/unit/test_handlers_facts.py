"""What prompts state outright is read from them: trigger, times, addresses, named types and their order."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.facts import read_facts
from handlers.search import find, reordered
from schemas.catalog import Catalog

CATALOG = Catalog.load()


@pytest.mark.parametrize(
    ("prompt", "trigger", "config"),
    [
        ("Every morning at 9 fetch the weather", "schedule", {"time": "09:00"}),
        ("every day at 6:30 pm Europe/Berlin send it", "schedule", {"time": "18:30", "timezone": "Europe/Berlin"}),
        ("Back up the table every night", "schedule", {"time": "22:00"}),
        ("Every Monday create an issue", "schedule", {}),
        ("Jeden Tag um 7 Uhr einen Bericht", "schedule", {"time": "07:00"}),
        ("at midnight 25:99 UTC daily", "schedule", {"time": "00:00", "timezone": "UTC"}),
        ("Every 5 minutes check the site", "interval", {"interval": "5m"}),
        ("check it every hour", "interval", {"interval": "1h"}),
        ("check it hourly", "interval", {"interval": "1h"}),
        ("every other second", "interval", {"interval": "2s"}),
        ("When the contact form is submitted, mail me", "form", {}),
        ("When someone asks the chatbot", "chat_trigger", {}),
        ("When another workflow fails, tell me", "error_trigger", {}),
        ("Runs when called by another workflow", "workflow_trigger", {}),
        ("Receive a webhook and log it", "webhook", {}),
        ("When a new payment arrives, add a row", "webhook", {}),
        ("I start it manually", "manual_trigger", {}),
        ("Post to a Slack webhook", None, {}),
        ("Summarize my notes", None, {}),
    ],
)
def test_the_trigger_that_the_words_state(prompt: str, trigger: str | None, config: dict[str, Any]) -> None:
    facts = read_facts(prompt)
    assert (facts.trigger, facts.trigger_config) == (trigger, config)


def test_addresses_are_read_once_and_without_punctuation() -> None:
    facts = read_facts("Get https://a.example/x?y=1, mail bob@example.org. Then #ops, again bob@example.org and #ops!")
    assert facts.urls == ("https://a.example/x?y=1",)
    assert facts.emails == ("bob@example.org",)
    assert facts.channels == ("#ops",)


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("Save it to Google Sheets and tell Slack", ("google_sheets", "slack_message")),
        ("Send a Slack message when a row is added to Google Sheets", ("google_sheets", "slack_message")),
        ("Summarize the articles of the RSS feed", ("rss_feed_read", "text_summarizer")),
        ("If it fails, send a Telegram message", ("if_else", "telegram")),
        ("Fetch https://example.org and post to Discord", ("http_request", "discord_webhook")),
        ("毎朝Slackに送信する", ("slack_message",)),
        ("slackers blog of the boxing club", ()),
        ("hello", ()),
    ],
)
def test_named_types_in_the_order_of_events(prompt: str, named: tuple[str, ...]) -> None:
    assert find(prompt, "", CATALOG).named == named


def test_what_stands_behind_otherwise_belongs_to_the_other_branch() -> None:
    found = find("If it is urgent, page via PagerDuty, otherwise log it", "", CATALOG)
    assert found.named == ("if_else", "pagerduty", "log_output")
    assert found.otherwise == {"log_output"}


def test_the_models_words_hint_but_do_not_name() -> None:
    found = find("Help me", "hubspot crm", CATALOG)
    assert found.named == ()
    assert found.hinted[0] == "hubspot"


def test_a_text_of_several_sentences_keeps_its_order() -> None:
    text = "Do this. Send a mail when it is done"
    assert reordered(text) == text


def test_long_and_hostile_prompts_are_read_in_bounded_time() -> None:
    for piece in (
        "every ",
        "a@",
        "https://",
        "#a",
        "when a ",
        "form ",
        "{{",
        "\x00",
        "of from ",
        "switch on ",
        "отправ",
        "каждый ",
        "every 1",
        "1",
        "chaque ",
    ):
        read_facts((piece * 20_000)[:20_000])
        find((piece * 20_000)[:20_000], "", CATALOG)
