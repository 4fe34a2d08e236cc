"""The file of prompts: ours is sound, and every fault of another's is named with line, field and way out."""

from __future__ import annotations

import json

import pytest

from consumer.cases import UnusableFile, either, read_cases
from tests.conftest import ROOT
from tests.unit.handlers_kit import CATALOG

SHIPPED = ROOT / "benchmarks" / "prompts.jsonl"


def read(*lines: object) -> list[str]:
    """The ids of the prompts, or the faults."""
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    try:
        return [case.id for case in read_cases(text, "p", CATALOG)]
    except UnusableFile as error:
        return str(error).splitlines()


def test_the_shipped_prompts_are_sound_input_with_labels_of_the_catalogue() -> None:
    cases = read_cases(SHIPPED.read_text("utf-8"), SHIPPED.name, CATALOG)
    assert len(cases) >= 60
    assert sum(case.trigger is not None for case in cases) >= 40
    assert all(kind in CATALOG for case in cases for label in case.nodes for kind in either(label))


@pytest.mark.parametrize(
    "tag",
    ["branch", "loop", "schedule", "form", "webhook", "edit", "contradiction", "injection", "one-word", "emoji", "long",
     "code", "wrong-fact", "typo", "several", "german", "spanish", "japanese", "hindi", "arabic"],
)  # fmt: skip
def test_the_shipped_prompts_go_from_plain_to_nasty(tag: str) -> None:
    assert any(tag in case.tags for case in read_cases(SHIPPED.read_text("utf-8"), "p", CATALOG))


def test_the_longest_shipped_prompt_is_as_long_as_a_row_may_hold() -> None:
    assert max(len(case.prompt) for case in read_cases(SHIPPED.read_text("utf-8"), "p", CATALOG)) == 20_000


def test_blank_lines_are_passed_over() -> None:
    assert read({"id": "a", "prompt": "x"}, "", {"id": "b", "prompt": "y"}, "") == ["a", "b"]


def test_a_line_separator_within_a_prompt_ends_no_line() -> None:
    assert read('{"id": "a", "prompt": "x\u2028y"}') == ["a"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "p:2: is not a JSON object"),
        ("[1]", "p:2: is not a JSON object (it is a list)"),
        ('{"id": "b", "prompt": "\\u0000"}', "p:2: is not a JSON object (it holds NUL"),
        ({"prompt": "x"}, "p:2: id: Field required. Add it."),
        ({"id": "b"}, "p:2: prompt: Field required. Add it."),
        ({"id": "b c", "prompt": "x"}, "p:2: id: String should match"),
        ({"id": "a", "prompt": "x"}, "p:2: id: 'a' is there twice."),
        ({"id": "b", "prompt": " "}, "p:2: prompt: must have 1 to 20,000 characters"),
        ({"id": "b", "prompt": "x" * 20_001}, "p:2: prompt: must have 1 to 20,000 characters"),
        ({"id": "b", "prompt": "x", "mode": "destroy"}, "p:2: mode: Input should be 'create' or 'edit'"),
        ({"id": "b", "prompt": "x", "mode": "edit"}, "p:2: current_workflow: mode edit needs the workflow"),
        ({"id": "b", "prompt": "x", "trigger": "cron"}, "p:2: trigger: there is no trigger 'cron'. Take one of"),
        ({"id": "b", "prompt": "x", "trigger": "slack_message"}, "p:2: trigger: there is no trigger 'slack_message'"),
        ({"id": "b", "prompt": "x", "nodes": ["slack|jira"]}, "p:2: nodes: there is no node type 'slack'."),
        ({"id": "b", "prompt": "x", "nodes": "jira"}, "p:2: nodes: Input should be a valid tuple"),
        ({"id": "b", "prompt": "x", "node": ["jira"]}, "p:2: node: Extra inputs are not permitted. Remove it,"),
    ],
)
def test_a_fault_is_named_with_line_field_and_way_out(line: object, fault: str) -> None:
    (told,) = read({"id": "a", "prompt": "x"}, line)
    assert told.startswith(fault), told
    assert told.endswith(".")


def test_a_file_without_prompts_says_what_to_write() -> None:
    assert read("", " ") == ["p: holds no prompt. Write one JSON object per line with id and prompt."]


def test_a_thousand_faults_are_told_in_part() -> None:
    assert len(read(*["{"] * 1000)) == 20
