"""The old system's behaviour, to compare with: one plain prompt, and whatever `json.loads` makes of the answer.

No analysis, no schema, no rules, no repair; retries as for any job. Run by `consumer eval --old` only.
"""

from __future__ import annotations

import json
import zlib
from typing import Literal

from consumer.errors import OutputNotJson, WorkflowInvalid
from consumer.job import Job, JsonObject, Phase
from consumer.ports import Done, Message, ModelRequest, ModelStep, Step
from handlers.stream import NodeReader

# A workflow of eight nodes in full form has about 900 tokens.
MAX_TOKENS = 1500
_SYSTEM = """You are a workflow generator. Turn the user's request into a workflow.
Return only a JSON object with these keys:
"name", "summary",
"nodes": a list of {"id", "type", "label", "position": {"x", "y"}, "config": {}},
"edges": a list of {"id", "source", "target"},
"requiredCredentials": a list of {"node", "field"}.
Node types are for example webhook, schedule, form, http_request, if_else, slack_message, google_sheets, google_gmail.
Return JSON only, without explanations."""


class OldSystem:
    """A Handler with a single step."""

    def __init__(self) -> None:
        self.steps: tuple[Step, ...] = (_Ask(),)

    def repair(self, job: Job, done: Done, invalid: WorkflowInvalid) -> ModelStep | None:
        """There is none."""
        return None

    def result(self, done: Done) -> JsonObject:
        """What the model wrote."""
        return done["generate"]


class _Ask:
    """A ModelStep."""

    name = "generate"
    phase = Phase.GENERATE
    band = (0, 100)
    typical_tokens = 400
    model: Literal["analyze", "generate"] = "generate"

    def request(self, job: Job, done: Done, attempt: int) -> ModelRequest:
        return ModelRequest(
            messages=(Message("system", _SYSTEM), Message("user", _asked(job))),
            schema={},
            max_tokens=MAX_TOKENS,
            temperature=0.7,
            seed=(zlib.crc32(job.id.encode()) + attempt) % 2**31,
        )

    def reader(self) -> NodeReader:
        return NodeReader()

    def read(self, job: Job, done: Done, text: str) -> JsonObject:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise OutputNotJson(str(error)) from error
        if not isinstance(value, dict):
            raise OutputNotJson("the answer is JSON, but not an object")
        return value


def _asked(job: Job) -> str:
    given = {"Current workflow": job.current_workflow, "Config": job.config, "Earlier runs": job.execution_history}
    parts = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in given.items() if value]
    return "\n\n".join([*parts, job.prompt])
