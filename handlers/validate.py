"""The last step: a workflow is made of the answer, repaired where one answer is right, and judged by the validator."""

from __future__ import annotations

from consumer.errors import WorkflowInvalid
from consumer.job import Job, JsonObject, Phase
from consumer.ports import Done
from handlers.assemble import assemble
from handlers.draft import Draft
from handlers.editing import apply_edit
from handlers.existing import read_existing
from handlers.mend import mend
from handlers.plan import Plan, plan
from handlers.supplied import Supplied, known
from schemas.catalog import Catalog
from schemas.subject import Json
from schemas.validator import validate_workflow


class Validate:
    """A CodeStep: `{"workflow": {…}, "repairs": [{code, pointer, message}]}`."""

    name = "validate"
    phase = Phase.VALIDATE
    band = (90, 100)

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def run(self, job: Job, done: Done) -> JsonObject:
        """Build, repair and check.

        Raises:
            WorkflowInvalid: what is left breaks the contract.
        """
        planned = plan(job, done.get("analyze", {}), self._catalog)
        given = known(job, job.current_workflow)
        draft, fresh, previous = self._draft(job, done, planned)
        workflow = mend(draft, planned, Supplied(job.config), given, fresh)
        violations = validate_workflow(workflow, self._catalog, known=given, previous=previous)
        if violations:
            raise WorkflowInvalid(violations)
        return {"workflow": workflow, "repairs": draft.repairs}

    def _draft(self, job: Job, done: Done, planned: Plan) -> tuple[Draft, frozenset[str], Json | None]:
        """The draft, the ids of its new nodes, and the nodes that an edit must not lose."""
        answer, analysis = done["generate"], done.get("analyze", {})
        if job.mode == "create" or job.current_workflow is None:
            draft = assemble({"summary": analysis.get("summary"), **answer}, planned, self._catalog)
            return draft, frozenset(draft.ids), None
        draft = read_existing(job.current_workflow, self._catalog)
        previous = {"nodes": [{"id": name} for name in draft.ids]}
        return draft, apply_edit(draft, answer, known(job)), previous
