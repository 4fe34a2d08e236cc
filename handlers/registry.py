"""What each mode of a job means. The engine asks here and knows nothing else of handlers."""

from __future__ import annotations

from functools import cache
from typing import Literal

from consumer.errors import WorkflowInvalid
from consumer.job import Job, JsonObject
from consumer.ports import Done, Handler, ModelStep, Step
from handlers.analyze import Analyze
from handlers.edit import Edit
from handlers.generate import Generate, Repair
from handlers.validate import Validate
from schemas.catalog import Catalog


class Pipeline:
    """A Handler: analyze → generate → validate; `build` is the step that asks for the workflow or its changes."""

    def __init__(self, build: ModelStep, catalog: Catalog) -> None:
        self._build = build
        self.steps: tuple[Step, ...] = (Analyze(), build, Validate(catalog))

    def repair(self, job: Job, done: Done, invalid: WorkflowInvalid) -> ModelStep | None:
        """Let the model see its answer and the violations, and answer again."""
        return Repair(self._build, done[self._build.name], invalid.violations)

    def result(self, done: Done) -> JsonObject:
        """The workflow to store."""
        workflow: JsonObject = done["validate"]["workflow"]
        return workflow


@cache
def handler_for(mode: Literal["create", "edit"], catalog: Catalog | None = None) -> Handler:
    """The handler of a mode (`Job` has checked that there is one), for these node types or those that ship with us."""
    catalog = catalog or Catalog.load()
    return Pipeline(Edit(catalog) if mode == "edit" else Generate(catalog), catalog)
