"""Stored answers through today's repair and validator: the same again, or every difference by name."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.job import Checkpoint, Job, JsonObject
from handlers.replay import Change, differences, replay
from tests.unit.handlers_kit import ANALYSIS, CATALOG, answer, job, log, slack, step_of, workflow_of
from tests.unit.workflows_kit import workflows

STEPS = (step_of("if_else", "trigger", condition="x"), slack("n1.true"), log("n1.false"))


def with_answers(said: JsonObject, **columns: Any) -> Job:
    done = {"analyze": ANALYSIS, "generate": said}
    return job(checkpoint={name: Checkpoint(input_hash="h", value=value) for name, value in done.items()}, **columns)


def test_the_answers_of_a_job_give_its_workflow_again() -> None:
    stored = workflow_of(job(), answer(*STEPS))
    found = replay(with_answers(answer(*STEPS)), stored, CATALOG)
    assert found is not None and found.workflow is not None
    assert (found.source, found.violations, differences(stored, found.workflow)) == ("answers", (), [])


def test_the_answers_of_an_edit_give_its_workflow_again() -> None:
    before = workflow_of(job(), answer(slack()))
    said = {"explanation": "Logs too.", "add": {"n1": log("slack_message_1")}}
    edit = with_answers(said, mode="edit", current_workflow=before)
    stored = workflow_of(edit, said)
    found = replay(edit, stored, CATALOG)
    assert found is not None and found.workflow == stored


def test_the_repairs_of_an_answer_are_told() -> None:
    found = replay(with_answers(answer(*STEPS[:2])), None, CATALOG)
    assert found is not None and found.workflow is not None
    assert [repair["code"] for repair in found.repairs] == ["MISSING_BRANCH"]


def test_an_answer_that_breaks_a_rule_gives_the_violations_and_no_workflow() -> None:
    found = replay(with_answers(answer(step_of("nonsense"))), workflow_of(job(), answer(log())), CATALOG)
    assert found is not None and found.workflow is None
    assert "UNKNOWN_NODE_TYPE" in {violation.code for violation in found.violations}


def test_without_answers_the_stored_workflow_is_judged() -> None:
    stored = workflow_of(job(), answer(*STEPS))
    found = replay(job(), stored, CATALOG)
    assert found is not None and (found.source, found.workflow) == ("workflow", stored)
    stored["nodes"][2] |= {"type": "no_such_type", "label": "odd", "id": "odd"}
    old = replay(job(), stored, CATALOG)
    assert old is not None and old.workflow is None and old.violations


@pytest.mark.parametrize("checkpoint", [None, {"analyze": Checkpoint(input_hash="h", value=ANALYSIS)}])
def test_a_job_without_answer_and_workflow_cannot_be_replayed(checkpoint: Any) -> None:
    assert replay(job(checkpoint=checkpoint), None, CATALOG) is None


def test_the_stored_workflow_is_not_changed_by_a_replay() -> None:
    stored = workflow_of(job(), answer(*STEPS))
    kept = copy.deepcopy(stored)
    replay(job(), stored, CATALOG)
    assert stored == kept


def test_each_difference_is_named_once() -> None:
    before = workflow_of(job(), answer(*STEPS))
    after = copy.deepcopy(before)
    after["name"] = "Other"
    slack_node = after["nodes"][2]
    slack_node["config"] = {"message": "ho", "channel": "#a"}
    after["nodes"].pop(3)
    after["edges"].pop()
    after["edges"][0]["id"] = "other"
    after["nodes"].append({"id": "new", "type": "noop", "position": {"x": 0, "y": 0}, "config": {}})
    after["requiredCredentials"] = []
    found = differences(before, after)
    assert found[0] == Change("changed", "workflow", "name", "Test", "Other")
    assert len(found) == 9
    assert {(change.kind, change.what, change.field) for change in found} == {
        ("changed", "workflow", "name"),
        ("changed", "node slack_message_1", "config.message"),
        ("removed", "node slack_message_1", "config.webhookUrl"),
        ("added", "node slack_message_1", "config.channel"),
        ("removed", "node log_output_1", ""),
        ("added", "node new", ""),
        ("changed", "edge webhook_1 -> if_else_1", "id"),
        ("removed", "edge if_else_1 (false) -> log_output_1", ""),
        ("removed", "required credential slack_message_1.webhookUrl", ""),
    }


@given(workflows(), st.randoms())
@settings(max_examples=50, deadline=None)
def test_the_order_of_nodes_and_edges_is_no_difference(flow: JsonObject, rng: Any) -> None:
    other = copy.deepcopy(flow)
    rng.shuffle(other["nodes"])
    rng.shuffle(other["edges"])
    assert differences(flow, other) == []
