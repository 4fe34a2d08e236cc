"""The step that builds the workflow in create mode, and its repair. The schema holds only what this job may contain."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from consumer.errors import Violation
from consumer.job import Job, JsonObject, Phase
from consumer.ports import Done, Message, ModelRequest, ModelStep
from handlers.messages import clipped, described, failures, request, worked_example
from handlers.plan import Plan, plan
from handlers.reading import read_object
from handlers.shape import LABEL, configured, record, step, text
from handlers.stream import NodeReader
from handlers.ways import Ways
from schemas.catalog import Catalog
from schemas.clean import one_line

_MAX_TOLD = 12


class Generate:
    """A ModelStep: a complete workflow in compact form (see prompts/generate.txt)."""

    name = "generate"
    phase = Phase.GENERATE
    band = (30, 90)
    typical_tokens = 220
    model: Literal["analyze", "generate"] = "generate"

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def request(self, job: Job, done: Done, attempt: int) -> ModelRequest:
        """Ask for the workflow."""
        planned = plan(job, done.get("analyze", {}), self._catalog)
        user = "\n\n".join(
            filter(None, (_offer(planned, self._catalog), failures(job), f"Request:\n{clipped(job.prompt)}"))
        )
        messages = (*worked_example("generate"), Message("user", user))
        return request(messages, answer_schema(planned, self._catalog), job, attempt, heat=0.3)

    def reader(self) -> NodeReader:
        """Shows the labels in order."""
        return NodeReader()

    def read(self, job: Job, done: Done, text: str) -> JsonObject:
        """The answer as it is; the validate step makes a workflow of it."""
        return read_object(text)


class Repair:
    """A ModelStep: another step's request, its answer, and what is wrong with it."""

    band = (85, 90)

    def __init__(self, step: ModelStep, answer: JsonObject, violations: Sequence[Violation]) -> None:
        self.name, self.phase, self.model = step.name, step.phase, step.model
        self.typical_tokens = step.typical_tokens
        self.reader, self.read = step.reader, step.read
        self._step, self._answer, self._violations = step, answer, violations

    def request(self, job: Job, done: Done, attempt: int) -> ModelRequest:
        """Ask again, with the answer so far and one line per distinct violation."""
        first = self._step.request(job, done, attempt)
        lines = dict.fromkeys(
            f"- {one_line(f'{violation.message} {violation.fix}', 200)}" for violation in self._violations
        )
        wrong = "\n".join(
            ["This answer breaks rules:", *list(lines)[:_MAX_TOLD], "Give the whole answer again, corrected."]
        )
        said = json.dumps(self._answer, ensure_ascii=False)
        return replace(first, messages=(*first.messages, Message("assistant", said), Message("user", wrong)))


def answer_schema(planned: Plan, catalog: Catalog) -> JsonObject:
    """The schema of the answer: steps n1, n2, …; the named types are fixed, the last ones may be any on offer."""
    nodes: JsonObject = {}
    ways = Ways(planned)
    for number in range(1, planned.steps + 1):
        types = planned.named[number - 1 : number] or _unnamed(planned)
        options = [step(catalog[name], planned.facts, ways.into(types)) for name in types]
        nodes[f"n{number}"] = options[0] if len(options) == 1 else {"anyOf": options}
        ways.passed(f"n{number}", types)
    required = list(nodes)[: max(len(planned.named), 1)]
    start = configured(
        {"type": {"const": planned.trigger}, "label": text(LABEL)}, catalog[planned.trigger], planned.facts
    )
    return record({"name": text(40), "trigger": start, "nodes": record(nodes, required)})


def _unnamed(planned: Plan) -> tuple[str, ...]:
    return tuple(name for name in planned.offered if name not in planned.named)


def _offer(planned: Plan, catalog: Catalog) -> str:
    lines = [
        f"Trigger: {planned.trigger}",
        "Types:",
        described((catalog[name] for name in planned.offered), planned.facts),
    ]
    if planned.named:
        lines.append(f"The request names these, so use them: {', '.join(planned.named)}.")
    return "\n".join(lines)
