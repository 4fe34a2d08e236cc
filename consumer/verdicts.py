"""What the database answers to people and operators: decisions on a job, a reconcile, an audit. Plain values.

Made by the store; used by the reconciler and shown by the CLI.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Reply(BaseModel):
    """An answer of one of our database functions; what a newer function adds is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Decision(Reply):
    """Whether the job exists for the caller, whether what was asked for holds now, and the job's status."""

    found: bool
    accepted: bool
    status: str | None = None


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
