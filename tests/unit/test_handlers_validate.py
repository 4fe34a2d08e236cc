"""Whatever the model answers, the validate step yields a valid workflow or WORKFLOW_INVALID; never anything else."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.errors import WorkflowInvalid
from consumer.job import JsonObject
from handlers.registry import handler_for
from schemas.clean import clean
from tests.unit.handlers_kit import CATALOG, answer, job, log, model_step, slack, validated

KEYS = ["trigger", "n1", "n2", "n3", "n2.true", "n3.false", "n1.case1", "n9", ""]
TYPES = [
    "if_else",
    "switch",
    "slack_message",
    "merge",
    "set_variable",
    "form",
    "webhook",
    "google_gmail",
    "loop",
    "laser",
]
FIELDS = ["message", "condition", "expression", "cases", "name", "value", "fields", "operation", "method", "webhookUrl"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["{{x}}", "{{variables.a}}", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=6,
)
STEPS = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES)},
    optional={
        "label": st.text(max_size=40),
        "after": st.sampled_from(KEYS) | st.lists(st.sampled_from(KEYS), max_size=3),
        "config": st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4),
        "id": st.sampled_from(KEYS),
    },
)
ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "name": VALUES,
        "trigger": STEPS | VALUES,
        "nodes": st.dictionaries(st.sampled_from(KEYS), STEPS | VALUES, max_size=5)
        | st.lists(STEPS | VALUES, max_size=5),
        "edges": st.lists(
            st.fixed_dictionaries({"source": st.sampled_from(KEYS), "target": st.sampled_from(KEYS)}) | VALUES,
            max_size=5,
        ),
        "add": st.dictionaries(st.sampled_from(KEYS), STEPS | VALUES, max_size=3) | VALUES,
        "change": st.lists(st.fixed_dictionaries({"id": st.sampled_from(KEYS), "config": VALUES}) | VALUES, max_size=3),
        "remove": st.lists(st.sampled_from(KEYS), max_size=2) | VALUES,
    },
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ANSWERS, st.sampled_from(["Every day tell Slack", "form", "If x then y, otherwise z", ""]))
def test_any_answer_of_create_mode_is_valid_in_the_end_or_refused(raw: JsonObject, prompt: str) -> None:
    with contextlib.suppress(WorkflowInvalid):
        value = validated(job(prompt), clean(raw))
        json.dumps(value, allow_nan=False).encode()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ANSWERS, ANSWERS)
def test_any_answer_of_edit_mode_is_valid_in_the_end_or_refused(raw: JsonObject, current: JsonObject) -> None:
    with contextlib.suppress(WorkflowInvalid):
        work = job("Change it", mode="edit", current_workflow=current)
        json.dumps(validated(work, clean(raw)), allow_nan=False).encode()


@given(VALUES, VALUES)
def test_any_analysis_is_taken(requirement: Any, trigger: Any) -> None:
    analysis = clean({"requiredNodes": requirement, "triggerType": trigger, "summary": requirement})
    model_step("create", "generate").request(job("Do it"), {"analyze": analysis}, 0)
    validated(job("Do it"), answer(slack("trigger")), analysis)


def test_a_second_pass_over_a_valid_workflow_repairs_nothing() -> None:
    first = validated(job(), answer(slack("trigger"), log("n1")))["workflow"]
    again = validated(job(mode="edit", current_workflow=first), {"explanation": "Nothing."})
    assert again["repairs"] == []
    assert {**again["workflow"], "explanation": None} == {**first, "explanation": None}


def test_the_result_is_the_workflow() -> None:
    value = validated(job(), answer(slack("trigger")))
    assert handler_for("create").result({"validate": value}) == value["workflow"]


def test_texts_come_from_the_answer_and_the_analysis() -> None:
    flow = validated(job(), answer(slack("trigger")))["workflow"]
    assert (flow["name"], flow["summary"]) == ("Test", "Does it.")
    bare = validated(job(), {"nodes": {"n1": slack()}}, {})["workflow"]
    assert bare["name"] == bare["summary"] == "Workflow" or bare["name"] == "Workflow"


def test_the_same_answer_gives_the_same_workflow() -> None:
    raw = answer(slack("n2"), log("trigger"), slack())
    assert validated(job(), raw) == validated(job(), raw)


def test_an_empty_answer_is_refused_with_reasons() -> None:
    with pytest.raises(WorkflowInvalid) as caught:
        validated(job(), {})
    assert [violation.code for violation in caught.value.violations] == ["NO_NODES"]


@pytest.mark.parametrize("kind", [node.name for node in CATALOG if not node.trigger])
def test_an_answer_that_fills_what_is_asked_is_valid_for_every_type(kind: str) -> None:
    schema = model_step("create", "generate").request(job("x"), {}, 0).schema
    assert schema
    from handlers.facts import Facts
    from handlers.shape import step

    validated(job(), answer(filled(step(CATALOG[kind], Facts(), ["trigger"]))))


def filled(schema: JsonObject) -> Any:
    """The smallest answer of a schema."""
    if "enum" in schema or "const" in schema:
        return schema.get("enum", [schema.get("const")])[0]
    match schema["type"]:
        case "object":
            return {name: filled(part) for name, part in schema["properties"].items()}
        case "array":
            return [filled(schema["items"])] * schema["minItems"]
        case "integer":
            return 1
        case "boolean":
            return True
        case _:
            return "a"
