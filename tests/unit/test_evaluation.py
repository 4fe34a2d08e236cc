"""Scoring: by the validator alone, whatever JSON the result is; and the old system's reading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from consumer.cases import Case
from consumer.errors import OutputNotJson
from consumer.evaluation import trigger_right, types_of, violations
from consumer.job import Completed, Failed, JsonObject
from consumer.old_system import OldSystem
from consumer.ports import CodeStep, ModelStep
from tests.unit.handlers_kit import answer, job, slack, step_of, workflow_of


def case(**more: Any) -> Case:
    return Case.model_validate({"id": "a", "prompt": "Send it to Slack", **more})


def valid() -> JsonObject:
    return workflow_of(job(), answer(slack()))


def test_a_valid_workflow_has_no_violations() -> None:
    assert violations(case(), Completed(valid())) == []


@pytest.mark.parametrize("workflow", [{}, {"nodes": None}, {"nodes": [1, {"id": []}], "edges": {}}])
def test_any_json_object_can_be_scored(workflow: JsonObject) -> None:
    assert violations(case(), Completed(workflow))
    assert types_of(workflow) == frozenset()


def test_a_secret_from_the_config_is_given_and_any_other_is_invented() -> None:
    url = "https://hooks.slack.com/services/T/B/x"
    workflow = workflow_of(job(config={"slackWebhookUrl": url}), answer(slack()))
    assert url in str(workflow)
    assert violations(case(config={"slackWebhookUrl": url}), Completed(workflow)) == []
    assert violations(case(), Completed(workflow)) == ["INVENTED_CREDENTIAL"]


def test_a_node_that_an_edit_loses_without_a_word_is_a_violation() -> None:
    before = workflow_of(job(), answer(slack(), step_of("log_output", "n1", message="x")))
    after = {**valid(), "explanation": "Nothing was changed."}
    assert violations(case(mode="edit", current_workflow=before), Completed(after)) == ["LOST_NODE"]


def test_a_failure_has_the_violations_that_made_it_one() -> None:
    details: Mapping[str, object] = {"violations": [{"code": "CYCLE"}, {"code": "CYCLE"}]}
    assert violations(case(), Failed("WORKFLOW_INVALID", "no", details)) == ["CYCLE", "CYCLE"]
    assert violations(case(), Failed("OUTPUT_NOT_JSON", "no", {})) == []


@pytest.mark.parametrize(
    ("triggers", "right"),
    [({"form"}, True), ({"form", "webhook"}, True), ({"form", "schedule"}, False), (set(), False)],
)
def test_the_trigger_is_right_when_it_is_one_that_the_label_allows_and_the_only_one(
    triggers: set[str], right: bool
) -> None:
    assert trigger_right("form|webhook", frozenset(triggers)) is right


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
