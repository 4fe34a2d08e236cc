"""What words alone decide, without a model: on the labelled prompts, in other languages, misspelled, and not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.cases import Case, either, read_cases
from handlers.facts import read_facts
from handlers.plan import plan
from handlers.search import find
from handlers.spelling import spelled
from schemas.catalog import Catalog

CATALOG = Catalog.load()
PROMPTS = Path(__file__).parents[2] / "benchmarks" / "prompts.jsonl"


def labelled() -> list[Case]:
    """The shipped prompts of create mode; an edit keeps the trigger that is there."""
    cases = read_cases(PROMPTS.read_text(encoding="utf-8"), PROMPTS.name, CATALOG)
    return [case for case in cases if case.mode == "create"]


def test_the_words_alone_decide_every_labelled_trigger() -> None:
    cases = [case for case in labelled() if case.trigger is not None]
    wrong = [case.id for case in cases if read_facts(case.prompt).trigger not in either(case.trigger or "")]
    assert (len(cases), wrong) == (64, [])


def test_the_words_alone_name_every_labelled_node() -> None:
    wanted = [(case, label) for case in labelled() for label in case.nodes]
    missed = [
        (case.id, label) for case, label in wanted if not either(label) & set(plan(case.job(), {}, CATALOG).named)
    ]
    assert (len(wanted), missed) == (131, [])


@pytest.mark.parametrize(
    ("prompt", "trigger", "config"),
    [
        ("On the first of the month, send the bill", "schedule", {}),
        ("On the 15th of every month at 6pm, send the bill", "schedule", {"time": "18:00"}),
        ("Once a week tidy up", "schedule", {}),
        ("Send me the figures on weekdays at 7:30", "schedule", {"time": "07:30"}),
        ("Send the report at 9 am", "schedule", {"time": "09:00"}),
        ("Wöchentlich aufräumen", "schedule", {}),
        ("Chaque lundi à 8h30, envoie le rapport", "schedule", {"time": "08:30"}),
        ("Todas las noches a las 22 borra los archivos", "schedule", {"time": "22:00"}),
        ("Ogni mattina leggi le notizie", "schedule", {}),
        ("Каждый день отправляй отчёт", "schedule", {}),
        ("每天9点读取表格", "schedule", {"time": "09:00"}),
        ("毎日午後3時に送信", "schedule", {"time": "15:00"}),
        ("매일 9시에 보내줘", "schedule", {"time": "09:00"}),
        ("كل يوم أرسل التقرير", "schedule", {}),
        ("Alle 5 Minuten prüfen", "interval", {"interval": "5m"}),
        ("Toutes les heures, vérifie le site", "interval", {"interval": "1h"}),
        ("Cada 30 segundos comprueba", "interval", {"interval": "30s"}),
        ("10分ごとに確認", "interval", {"interval": "10m"}),
        ("每5分钟检查一次", "interval", {"interval": "5m"}),
        ("Каждые 2 часа проверяй", "interval", {"interval": "2h"}),
        ("When an expense form comes in, ask the boss", "form", {}),
        ("Someone fills out our onboarding form: add a row", "form", {}),
        ("Form", "form", {}),
        ("Quand le formulaire est envoyé, préviens-moi", "form", {}),
        ("Cuando alguien envía el formulario", "form", {}),
        ("提交表单后发送邮件", "form", {}),
        ("Whenever Shopify has news, tell Slack", "webhook", {}),
        ("Each time someone subscribes, add a row", "webhook", {}),
        ("Sobald ein Kunde bestellt, eine Nachricht senden", "webhook", {}),
        ("webhookが届いたら記録", "webhook", {}),
        ("チャットで質問されたら答える", "chat_trigger", {}),
        ("Wenn ein anderer Workflow fehlschlägt, melde es", "error_trigger", {}),
        ("Auf Knopfdruck exportieren", "manual_trigger", {}),
    ],
)
def test_triggers_in_other_words_and_languages(prompt: str, trigger: str, config: dict[str, str]) -> None:
    facts = read_facts(prompt)
    assert (facts.trigger, facts.trigger_config) == (trigger, config)


@pytest.mark.parametrize(
    "prompt",
    [
        "Post the plan to our platform",
        "Write it in the form of a poem",
        "Reformular el texto",
        "プラットフォームに投稿",
        "استخدم نموذج اللغة لتلخيص النص",
        "Fasse den Text zusammen, wenn er lang ist",
        "Repeat it 3 times",
        "Ask Emil, hardly ever busy, to sack nobody",
        "Wait 5 minutes, then log it",
        "Translate the word morning",
        "The ratio is 3.14",
    ],
)
def test_words_that_only_look_like_a_trigger_decide_none(prompt: str) -> None:
    assert read_facts(prompt).trigger is None


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("Switch on the department: sales goes to Slack, technical to Jira", ("switch", "slack_message", "jira")),
        ("Switch on the lights, then tell Slack", ("slack_message",)),
        ("Read the Redis key and write it to a file", ("redis", "write_binary_file")),
        ("Read the file", ()),
        ("Mail it to boss@example.com", ("google_gmail",)),
        ("Si el total es alto avisa en Slack", ("if_else", "slack_message")),
        ("plese send a slak mesage", ("slack_message",)),
        ("a stack of sacks", ()),
    ],
)
def test_named_steps_and_words_like_them(prompt: str, named: tuple[str, ...]) -> None:
    assert find(prompt, "", CATALOG).named == named


@pytest.mark.parametrize(
    ("word", "trigger"),
    [("Daily", "schedule"), ("webhook", "webhook"), ("survey", "form"), ("manually", "manual_trigger")],
)
def test_one_slip_in_a_key_word_changes_no_trigger(word: str, trigger: str) -> None:
    for index in range(1, len(word)):
        rest = word[index + 1 :]
        for slip in (
            word[:index] + rest,
            word[: index + 1] + word[index:],
            word[:index] + rest[:1] + word[index] + rest[1:],
        ):
            if slip.lower() != "daly":
                assert read_facts(f"{slip} tell Slack").trigger == trigger, slip


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=80))
def test_mending_words_twice_changes_nothing_more_and_keeps_the_rest(text: str) -> None:
    once = spelled(text)
    assert spelled(once) == once
    assert len(once.split()) == len(text.split())
