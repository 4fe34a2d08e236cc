"""A job as the worker sees it, and the outcomes an attempt can have. Plain values; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NewType

from pydantic import BaseModel, ConfigDict, Field

JobId = NewType("JobId", str)
Attempt = NewType("Attempt", int)
JsonObject = dict[str, Any]

JOB_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
# W3C Trace Context, its ids and flags as groups; ids of zeros and version ff are invalid.
TRACEPARENT_PATTERN = r"^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})$"


class Phase(StrEnum):
    """The values of `current_phase` (contract §1)."""

    ANALYZE = "analyze"
    NODE_SELECTION = "node_selection"
    GENERATE = "workflow_generation"
    CONFIGURE = "node_configuration"
    VALIDATE = "validation"


class Checkpoint(BaseModel):
    """A finished phase: its value, and a hash of everything the value depends on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    input_hash: str
    value: JsonObject
    figures: JsonObject = Field(default_factory=dict)


class Job(BaseModel):
    """One claimed row of `workflow_generation_jobs`: what the worker needs of it, checked."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: JobId
    attempt: Attempt
    prompt: str
    mode: Literal["create", "edit"] = "create"
    user_id: str | None = None
    current_workflow: JsonObject | None = None
    execution_history: list[JsonObject] | None = None
    config: JsonObject | None = None
    retry_count: int = 0
    max_retries: int = 3
    checkpoint: dict[str, Checkpoint | None] | None = None
    observability: JsonObject | None = None
    created_at: datetime
    # Since when it could be claimed; `infinity`, which nobody but a claim by name reaches, is no moment of Python's.
    run_at: datetime | str | None = Field(default=None, union_mode="left_to_right")
    started_at: datetime | None = None
    # The database's clock at the claim.
    updated_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    error_details: JsonObject | None = None
    traceparent: str | None = None

    @property
    def pickup_seconds(self) -> float | None:
        """From when it could be claimed (insert, rescue, end of a back-off) to its claim, by the database's clock."""
        if not isinstance(self.run_at, datetime) or self.updated_at is None:
            return None
        return max(0.0, (self.updated_at - self.run_at).total_seconds())

    @property
    def rescued(self) -> bool:
        """Whether the attempt before this one did not outlive its lease."""
        history = (self.error_details or {}).get("history") or [{}]
        last = (history[-1].get("code"), history[-1].get("attempt"))
        return last == ("LEASE_LOST", self.attempt - 1)


@dataclass(frozen=True, slots=True)
class Completed:
    """The workflow is valid and stored."""

    workflow: JsonObject


@dataclass(frozen=True, slots=True)
class Retry:
    """This attempt failed; another may start after `delay` seconds. Burns one retry."""

    delay: float
    code: str
    message: str
    details: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Failed:
    """The job is over, without a workflow."""

    code: str
    message: str
    details: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Released:
    """Handed back untouched (a stop, or a model server that is not ready). Burns no retry."""

    delay: float
    reason: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The user asked to stop, and it stopped."""


Outcome = Completed | Retry | Failed | Released | Cancelled
