"""What the database answers: to workers, people and operators. Plain values, made by the store."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from consumer.job import JsonObject

ENDED = ("completed", "failed", "cancelled")
# How much of an error message the view gives (sql_migrations/20).
ERROR_START = 200


class Reply(BaseModel):
    """An answer of one of our database functions; what a newer function adds is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Claim(Reply):
    """Jobs that are ours now; seconds until something else falls due; whether more is claimable at once.

    `alone`: nothing more for this worker until one of its own has ended: a suspect is, or waits to be, alone there.
    `paused`: an operator has paused this worker, so it gets nothing.
    """

    jobs: list[JsonObject]
    alone: bool = False
    paused: bool = False
    next_due_in: float | None = None
    more: bool = False


class Renewal(Reply):
    """Whether the attempt still holds the job, and whether its user asked to cancel."""

    held: bool
    cancel_requested: bool = False


class Pulse(Reply):
    """Answer to a heartbeat: its number, how much is claimable and since when (seconds), when the next thing is due.

    `delayed` jobs have yet to become claimable. Both are counted up to 1000. `now` is the database's clock, in seconds
    since 1970. `paused`: an operator has paused this worker.
    """

    beat: int | None
    claimable: int
    delayed: int = 0
    oldest_claimable_seconds: float | None = None
    next_due_in: float | None = None
    now: float | None = None
    paused: bool = False


class Decision(Reply):
    """Whether the job exists for the caller, whether what was asked for holds now, and the job's status."""

    found: bool
    accepted: bool
    status: str | None = None


class Paused(Reply):
    """The workers that are paused now, or no longer."""

    workers: list[str]


class Reconciliation(Reply):
    """What a reconcile found and did: ended leases by what became of them, and the first 100 of those jobs.

    What remains: jobs that are claimable or delayed (counted up to 1000), in work, in work with a lease that ran out.
    """

    rescued: int
    exhausted: int
    cancelled: int = 0
    job_ids: list[str] = []
    claimable: int
    oldest_claimable_seconds: float | None = None
    delayed: int = 0
    processing: int
    expired: int = 0
    next_due_in: float | None = None


class AuditViolation(Reply):
    """One rule that one job's row or history breaks; `message` is one sentence."""

    job_id: str
    rule: str
    message: str
    attempt: int | None = None


class Audit(Reply):
    """What was checked, and what is wrong; `violations` holds the first ones, `violation_count` counts them all."""

    jobs: int
    attempts: int
    events: int
    violation_count: int
    offending_jobs: int
    violations: list[AuditViolation]


class JobState(Reply):
    """How a job is doing: what changes while it is in work. `preview_nodes` are labels, in order, so far.

    What a truncated event leaves out is None (traces/realtime.md: over 1 MiB it keeps only values up to 64 bytes).
    """

    id: str
    status: str
    progress_percentage: int | None = None
    current_phase: str | None = None
    attempt: int = 0
    retry_count: int = 0
    worker_id: str | None = None
    updated_at: datetime
    preview_nodes: list[object] | None = None
    error_code: str | None = None
    error_start: str | None = None

    @classmethod
    def of_row(cls, row: JsonObject) -> JobState:
        """The state of a whole row, as an event brings it or `job_row` reads it.

        Raises:
            ValidationError: it is no row of a job.
        """
        details, preview = (row.get(name) or {} for name in ("error_details", "preview"))
        start = (row.get("error_message") or "")[:ERROR_START] or None
        return cls.model_validate(
            {**row, "error_code": details.get("code"), "error_start": start, "preview_nodes": preview.get("nodes")}
        )

    @property
    def ended(self) -> bool:
        """Whether it is in a terminal state."""
        return self.status in ENDED


class JobLine(Reply):
    """One job without its large values, as the view `workflow_jobs_at_a_glance` has it; times by the database's clock.

    `prompt_start` has at most 120 characters, `error_start` 200. `waited_seconds` until the first attempt, or now;
    `worked_seconds` from there to the end, or now. `nodes` counts those of the finished workflow.
    """

    id: str
    user_id: str | None
    status: str
    mode: str
    prompt_start: str
    priority: int
    progress_percentage: int | None
    current_phase: str | None
    attempt: int
    retry_count: int
    max_retries: int
    worker_id: str | None
    created_at: datetime
    run_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested: bool
    waited_seconds: float
    worked_seconds: float | None
    nodes: int | None
    error_code: str | None
    error_start: str | None


class Inspection(Reply):
    """What the database says about its schema (sql_migrations/24): lists name what is missing, open or too much.

    `version`: the last migration whose parts are all there, up to the first gap. `now`: seconds since 1970.
    """

    now: float
    server: str
    version: int | None
    missing: list[str]
    published: bool
    unpublished: list[str]
    logical: bool
    without_identity: list[str]
    rights_missing: list[str]
    rights_excess: list[str]
    open_tables: list[str]
    foreign_policies: list[str]
    bypasses_rls: bool
    invalid_indexes: list[str]
    broadcasts: bool
    read_only: bool
    bytes: int
