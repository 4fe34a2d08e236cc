"""What the tests of handlers share: jobs, answers, and the steps run without a model."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from consumer.job import Attempt, Job, JobId, JsonObject
from consumer.ports import CodeStep, ModelStep
from handlers.registry import handler_for
from schemas.catalog import Catalog
from schemas.validator import Known, validate_workflow

CATALOG = Catalog.load()
ANALYSIS: JsonObject = {"summary": "Does it.", "triggerType": "webhook", "requiredNodes": ["slack"]}


def job(prompt: str = "Send it to Slack", **columns: Any) -> Job:
    return Job(
        id=JobId("job_1"), attempt=Attempt(1), prompt=prompt, created_at=datetime(2026, 1, 1, tzinfo=UTC), **columns
    )


def model_step(mode: str, name: str) -> ModelStep:
    steps = {step.name: step for step in handler_for("edit" if mode == "edit" else "create").steps}
    step = steps[name]
    assert not isinstance(step, CodeStep)
    return step


def validated(work: Job, answer: JsonObject, analysis: JsonObject | None = None) -> JsonObject:
    """The validate step's value; whatever comes out of it must please the validator."""
    step = handler_for(work.mode).steps[-1]
    assert isinstance(step, CodeStep)
    value = step.run(work, {"analyze": ANALYSIS if analysis is None else analysis, "generate": answer})
    assert validate_workflow(value["workflow"], CATALOG) == []
    return value


def workflow_of(work: Job, answer: JsonObject) -> JsonObject:
    workflow: JsonObject = validated(work, answer)["workflow"]
    return workflow


def codes(value: JsonObject) -> list[str]:
    return [repair["code"] for repair in value["repairs"]]


def routes(workflow: JsonObject) -> list[tuple[str, str, str | None]]:
    return [(edge["source"], edge["target"], edge.get("sourceHandle")) for edge in workflow["edges"]]


def step_of(kind: str, after: Any = None, **config: Any) -> JsonObject:
    return {"type": kind, "label": kind, "after": after, "config": config}


def slack(after: Any = None, message: str = "hi") -> JsonObject:
    return step_of("slack_message", after, message=message)


def log(after: Any = None) -> JsonObject:
    return step_of("log_output", after, message="x")


def answer(*steps: JsonObject, trigger: JsonObject | None = None) -> JsonObject:
    """A create answer: steps n1, n2, … after a webhook."""
    start = trigger or {"type": "webhook", "label": "Start", "config": {"method": "POST"}}
    return {"name": "Test", "trigger": start, "nodes": {f"n{i}": step for i, step in enumerate(steps, start=1)}}


__all__ = [
    "ANALYSIS",
    "CATALOG",
    "Known",
    "answer",
    "codes",
    "job",
    "log",
    "model_step",
    "routes",
    "slack",
    "step_of",
    "validated",
    "workflow_of",
]
