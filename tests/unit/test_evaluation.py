"""Scoring: by the validator alone, whatever JSON the result is; and the old system's reading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from consumer.cases import Case, read_cases
from consumer.errors import OutputNotJson
from consumer.evaluation import absent, offered, trigger_right, types_of, violations
from consumer.job import Completed, Failed, JsonObject
from consumer.old_system import OldSystem
from consumer.ports import CodeStep, ModelStep
from tests.conftest import ROOT
from tests.unit.handlers_kit import CATALOG, answer, job, slack, step_of, workflow_of


def case(**more: Any) -> Case:
    return Case.model_validate({"id": "a", "prompt": "Send it to Slack", **more})


def valid() -> JsonObject:
    return workflow_of(job(), answer(slack()))


def test_a_valid_workflow_has_no_violations() -> None:
    assert violations(case(), Completed(valid()), CATALOG) == []


@pytest.mark.parametrize("workflow", [{}, {"nodes": None}, {"nodes": [1, {"id": []}], "edges": {}}])
def test_any_json_object_can_be_scored(workflow: JsonObject) -> None:
    assert violations(case(), Completed(workflow), CATALOG)
    assert types_of(workflow) == frozenset()


def test_a_secret_from_the_config_is_given_and_any_other_is_invented() -> None:
    url = "https://hooks.slack.com/services/T/B/x"
    workflow = workflow_of(job(config={"slackWebhookUrl": url}), answer(slack()))
    assert url in str(workflow)
    assert violations(case(config={"slackWebhookUrl": url}), Completed(workflow), CATALOG) == []
    assert violations(case(), Completed(workflow), CATALOG) == ["INVENTED_CREDENTIAL"]


def test_a_node_that_an_edit_loses_without_a_word_is_a_violation() -> None:
    before = workflow_of(job(), answer(slack(), step_of("log_output", "n1", message="x")))
    after = {**valid(), "explanation": "Nothing was changed."}
    assert violations(case(mode="edit", current_workflow=before), Completed(after), CATALOG) == ["LOST_NODE"]


def test_a_failure_has_the_violations_that_made_it_one() -> None:
    details: Mapping[str, object] = {"violations": [{"code": "CYCLE"}, {"code": "CYCLE"}]}
    assert violations(case(), Failed("WORKFLOW_INVALID", "no", details), CATALOG) == ["CYCLE", "CYCLE"]
    assert violations(case(), Failed("OUTPUT_NOT_JSON", "no", {}), CATALOG) == []


@pytest.mark.parametrize(
    ("triggers", "right"),
    [({"form"}, True), ({"form", "webhook"}, True), ({"form", "schedule"}, False), (set(), False)],
)
def test_the_trigger_is_right_when_it_is_one_that_the_label_allows_and_the_only_one(
    triggers: set[str], right: bool
) -> None:
    assert trigger_right("form|webhook", frozenset(triggers)) is right


def recall(cases: list[Case]) -> float:
    missed = sum(len(absent(case, offered(case, CATALOG))) for case in cases)
    return 1 - missed / sum(len(case.nodes) for case in cases)


def test_the_part_of_the_catalogue_that_the_prompt_alone_chooses_holds_the_labelled_nodes_and_is_small() -> None:
    """Measured: 141 of 141 labels, 131 of 131 of those that create; 2.4 of 205 types on offer in the mean."""
    cases = read_cases((ROOT / "benchmarks" / "prompts.jsonl").read_text("utf-8"), "p", CATALOG)
    create = [case for case in cases if case.mode == "create"]
    assert recall(cases) >= 0.98
    assert recall(create) >= 0.98
    assert sum(len(offered(case, CATALOG)) for case in create) / len(create) <= 4


def test_it_holds_those_of_prompts_that_the_words_of_the_catalogue_were_not_first_written_for() -> None:
    """Blind, 80 of 87 labels of the first 40 and, once the catalogue had learned from them, 71 of 75 of the other 34.

    Now 159 of 162, with 2.5 types on offer in the mean.
    """
    cases = read_cases((ROOT / "tests" / "corpus" / "chosen_types.jsonl").read_text("utf-8"), "p", CATALOG)
    assert recall(cases) >= 0.97
    assert sum(len(offered(case, CATALOG)) for case in cases) / len(cases) <= 4


def test_an_edit_has_the_types_that_are_there_at_hand_also_those_of_an_old_editor() -> None:
    old = {"nodes": [{"id": "limit_3", "type": "custom", "data": {"type": "custom", "config": {}}}]}
    edit = case(mode="edit", current_workflow=old, nodes=["slack_message", "limit", "jira"])
    assert offered(edit, CATALOG) == {"slack_message", "limit"}
    assert absent(edit, offered(edit, CATALOG)) == ("jira",)


def old_step() -> ModelStep:
    (step,) = OldSystem().steps
    assert not isinstance(step, CodeStep)
    return step


def test_the_old_system_asks_for_free_text_and_shows_all_that_it_was_given() -> None:
    request = old_step().request(job("Do it", config={"k": "v"}), {}, 0)
    assert request.schema == {}
    assert request.messages[-1].content == 'Config: {"k": "v"}\n\nDo it'


def test_the_old_system_takes_what_json_loads_takes() -> None:
    assert old_step().read(job(), {}, '{"nodes": 7}') == {"nodes": 7}


@pytest.mark.parametrize("text", ["Sure! {}", "```json\n{}\n```", "[]", "{", "[" * 100_000])
def test_the_old_system_mends_nothing(text: str) -> None:
    with pytest.raises(OutputNotJson):
        old_step().read(job(), {}, text)
