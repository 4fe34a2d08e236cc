"""The seams of the engine: what a handler gives the runner, and what the runner gives back.

Handlers are pure: a step builds a request and reads a reply; the runner talks to the model server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from consumer.errors import WorkflowInvalid
from consumer.job import Job, JsonObject, Phase

Role = Literal["system", "user", "assistant"]
# Finished steps by name; the value of each is a JSON object.
Done = Mapping[str, JsonObject]


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What a step asks of a model. `schema` is the JSON Schema of the answer; `max_tokens` bounds its length.

    `max_chars`: no text of that schema is longer. Of a schema that nobody has measured: what may be held in memory.
    """

    messages: tuple[Message, ...]
    schema: JsonObject
    max_tokens: int
    temperature: float
    seed: int
    max_chars: int = 8_000_000


class StreamReader(Protocol):
    """Reads an answer while it streams, for the preview only; must never raise and never be quadratic."""

    def feed(self, text: str) -> bool:
        """Take the next piece of the answer; True when `preview` has changed."""

    @property
    def preview(self) -> JsonObject:
        """What has been generated so far, e.g. `{"nodes": ["Webhook", "Slack message"]}`."""


class ModelStep(Protocol):
    """A step done by a model."""

    name: str
    phase: Phase
    # Progress percent at the start and the end of the step.
    band: tuple[int, int]
    # Usual length of the answer in tokens; moves the progress bar.
    typical_tokens: int
    # Which configured model does it: settings name one per kind.
    model: Literal["analyze", "generate"]

    def request(self, job: Job, done: Done, attempt: int) -> ModelRequest:
        """Build the request; `attempt` (from 0) changes seed and temperature. Deterministic for equal arguments.

        Raises:
            InputInvalid: the job cannot be worked on.
        """

    def reader(self) -> StreamReader:
        """A new reader for one stream."""

    def read(self, job: Job, done: Done, text: str) -> JsonObject:
        """Turn the complete answer into the step's value.

        Raises:
            OutputNotJson: it is not the JSON object that was asked for.
        """


@runtime_checkable
class CodeStep(Protocol):
    """A step done by code."""

    name: str
    phase: Phase
    band: tuple[int, int]

    def run(self, job: Job, done: Done) -> JsonObject:
        """Compute the step's value. CPU only, called in a thread.

        Raises:
            WorkflowInvalid: rules are broken that code cannot repair.
        """


Step = ModelStep | CodeStep


class Handler(Protocol):
    """What a job's `mode` means: the steps, in order, and the result."""

    steps: tuple[Step, ...]

    def repair(self, job: Job, done: Done, invalid: WorkflowInvalid) -> ModelStep | None:
        """The model step that may mend these violations (its value replaces that of the step of the same name)."""

    def result(self, done: Done) -> JsonObject:
        """The workflow to store, from the finished steps."""
