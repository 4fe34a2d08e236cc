"""The step that reads the request: what is wanted, what starts it, which services it names. First step of every job."""

from __future__ import annotations

from typing import Literal

from consumer.errors import InputInvalid
from consumer.job import Job, JsonObject, Phase
from consumer.ports import Done, Message, ModelRequest
from handlers.messages import clipped, request, worked_example
from handlers.reading import read_object
from handlers.stream import SummaryReader
from schemas.documents import checker, schema

_INPUT = ("prompt", "mode", "current_workflow", "execution_history", "config")


class Analyze:
    """A ModelStep."""

    name = "analyze"
    phase = Phase.ANALYZE
    band = (0, 30)
    typical_tokens = 130
    model: Literal["analyze", "generate"] = "analyze"

    def request(self, job: Job, done: Done, attempt: int) -> ModelRequest:
        """Ask for the analysis.

        Raises:
            InputInvalid: the job's own columns break the rules of contract §1.
        """
        check_input(job)
        messages = (*worked_example("analyze"), Message("user", f"Request:\n{clipped(job.prompt)}"))
        return request(messages, _asked(), job, attempt, heat=0.2)

    def reader(self) -> SummaryReader:
        """Shows the summary as soon as it is there."""
        return SummaryReader()

    def read(self, job: Job, done: Done, text: str) -> JsonObject:
        """The analysis, as the model gave it; later steps take from it only what fits."""
        return read_object(text)


def check_input(job: Job) -> None:
    """Refuse a job that cannot be worked on; retrying would not help.

    Raises:
        InputInvalid: names the column and the reason.
    """
    given = job.model_dump(include=set(_INPUT), mode="json")
    error = next(iter(checker("job_input").iter_errors(given)), None)
    if error is not None:
        field = str(error.absolute_path[0]) if error.absolute_path else "current_workflow"
        raise InputInvalid(field, _REASONS.get(field, "does not have the expected shape."))


_REASONS = {
    "prompt": "must have 1 to 20,000 characters, not only blanks. Describe the workflow in words.",
    "current_workflow": "mode edit needs the workflow to edit: an object with a list of nodes.",
}


def _asked() -> JsonObject:
    """The schema without the keywords that model servers need not know."""
    return {key: value for key, value in schema("analysis").items() if key not in ("$schema", "title")}
