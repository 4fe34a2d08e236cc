"""The database as the worker sees it: a few RPCs, each safe to repeat. No SQL here (see sql_migrations/).

Every method raises StoreUnavailable (outcome unknown, repeat) or StoreRefused (repeating cannot help), as
`consumer/database.py` does. Called by dispatcher, lease, runner, heartbeat, and the CLI's commands.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from consumer.database import JOBS, WORKERS, Database, as_object, parsed
from consumer.errors import StoreUnavailable
from consumer.job import Cancelled, Completed, Failed, Job, JsonObject, Outcome, Released, Retry
from consumer.replies import Audit, Claim, Decision, Paused, Pulse, Reconciliation, Renewal


@dataclass(frozen=True, slots=True)
class Write:
    """One renewal: everything that changed since the last one. `number` grows by one within an attempt."""

    number: int
    progress: int | None = None
    phase: str | None = None
    logs: list[JsonObject] | None = None
    preview: JsonObject | None = None
    checkpoint: JsonObject | None = None
    observability: JsonObject | None = None


class Store:
    """Calls the functions of contract §2 as one worker. Make one per event loop with `connect`."""

    def __init__(self, database: Database, worker_id: str, lease_seconds: int) -> None:
        self.database = database
        self.worker_id = worker_id
        self.lease_seconds = lease_seconds

    @classmethod
    async def connect(
        cls, url: str, key: str, *, worker_id: str, lease_seconds: int = 20, access_token: str | None = None
    ) -> Store:
        """Make the client; sends nothing yet. `access_token` acts as that signed-in user instead of the key's role."""
        return cls(await Database.connect(url, key, access_token=access_token), worker_id, lease_seconds)

    def acting_as(self, access_token: str) -> Store:
        """The same for a signed-in user: the database sees the token's user, not the worker."""
        return Store(self.database.acting_as(access_token), self.worker_id, self.lease_seconds)

    async def aclose(self) -> None:
        """Drop the calls that were left alone, and close the connections."""
        await self.database.aclose()

    async def claim(
        self, how_many: int, claim_key: str, *, running: Sequence[str] = (), max_retries: int | None = None,
        job: str | None = None, prefer: str | None = None,
    ) -> Claim:  # fmt: skip
        """Take the best claimable jobs, knowing which are `running` here. Repeating with `claim_key` gives the same.

        `prefer` names the next step, "analyze" or "generate", whose jobs go first within a priority (decision 7).
        """
        arguments = {
            "p_worker": self.worker_id,
            "p_how_many": how_many,
            "p_lease_seconds": self.lease_seconds,
            "p_claim_key": claim_key,
            "p_max_retries": max_retries,
            "p_job": job,
            "p_running": list(running),
            "p_prefer": prefer,
        }
        return parsed(Claim, await self._rpc("claim_workflow_jobs", arguments))

    async def renew(self, job: Job, write: Write) -> Renewal:
        """Extend the lease and write progress; repeating a write number changes nothing more."""
        fields = {f"p_{field.name}": getattr(write, field.name) for field in dataclasses.fields(write)}
        arguments = {
            "p_job": job.id,
            "p_attempt": job.attempt,
            "p_write": fields.pop("p_number"),
            "p_lease_seconds": self.lease_seconds,
            **{name: value for name, value in fields.items() if value is not None},
        }
        try:
            # A connection that died without a word must leave time for a second try within the lease.
            async with asyncio.timeout(self.lease_seconds / 3):
                return parsed(Renewal, await self._rpc("renew_workflow_job", arguments))
        except TimeoutError:
            raise StoreUnavailable("renew_workflow_job: no answer within a third of the lease") from None

    async def settle(
        self, job: Job, outcome: Outcome, *, logs: list[JsonObject] | None, observability: JsonObject
    ) -> bool:
        """Apply the outcome; False when another attempt owns the job, so that nothing was changed."""
        arguments = {
            "p_job": job.id,
            "p_attempt": job.attempt,
            "p_logs": logs,
            "p_observability": observability,
            **_outcome_arguments(outcome),
        }
        answer = await self._rpc("settle_workflow_job", arguments)
        if not isinstance(answer, bool):
            raise StoreUnavailable("settle_workflow_job gave no boolean: something other than PostgREST answered")
        return answer

    async def heartbeat(self, info: JsonObject) -> Pulse:
        """Update this worker's row."""
        return await self._beat(info, stopping=False)

    async def farewell(self) -> None:
        """Remove this worker's row, once no call that was left alone can put it back."""
        await self.database.quiet()
        await self._beat({}, stopping=True)

    async def _beat(self, info: JsonObject, *, stopping: bool) -> Pulse:
        arguments = {"p_worker": self.worker_id, "p_info": info, "p_stopping": stopping}
        return parsed(Pulse, await self._rpc("heartbeat_workflow_worker", arguments))

    async def reconcile(self, *, dry_run: bool = False) -> Reconciliation:
        """Return expired leases to the queue and report what is claimable."""
        return parsed(Reconciliation, await self._rpc("reconcile_workflow_jobs", {"p_dry_run": dry_run}))

    async def submit(self, **fields: Any) -> JsonObject:
        """Insert a job: `prompt`, `mode`, `current_workflow`, `config`, … → `{job_id, status, created}`."""
        arguments = {f"p_{name}": value for name, value in fields.items() if value is not None}
        return as_object(await self._rpc("submit_workflow_job", arguments))

    async def cancel(self, job_id: str) -> Decision:
        """Cancel a pending job at once; ask the worker of a running one to stop."""
        return parsed(Decision, await self._rpc("cancel_workflow_job", {"p_job": job_id}))

    async def retry(self, job_id: str) -> Decision:
        """Start a failed or cancelled job again, with all its retries."""
        return parsed(Decision, await self._rpc("retry_workflow_job", {"p_job": job_id}))

    async def pause(self, worker_id: str | None, *, paused: bool) -> list[str]:
        """Pause or resume a worker, or all that have a row; gives the ids of those that there are."""
        arguments = {"p_worker": worker_id, "p_paused": paused}
        return parsed(Paused, await self._rpc("pause_workflow_workers", arguments)).workers

    async def workers(self) -> list[JsonObject]:
        """One line per worker: the view `workflow_workers_at_a_glance`."""
        return await self.database.all_rows(WORKERS, "worker_id")

    async def audit(self, since: datetime | timedelta | None = None) -> Audit:
        """Check rows against history: of all jobs, or of those that changed since then or within so long."""
        arguments: JsonObject = {"p_limit": 1000}
        if isinstance(since, timedelta):
            arguments["p_within"] = f"{since.total_seconds():.0f} seconds"
        elif since is not None:
            arguments["p_since"] = since.isoformat()
        return parsed(Audit, await self._rpc("audit_workflow_jobs", arguments))

    async def job_row(self, job_id: str) -> JsonObject | None:
        """The whole row, or None when there is none that this caller may see."""
        return await self.database.row(JOBS, job_id)

    async def _rpc(self, function: str, arguments: Mapping[str, Any]) -> Any:
        return await self.database.call(function, arguments)


def _outcome_arguments(outcome: Outcome) -> JsonObject:
    match outcome:
        case Completed(workflow):
            return {"p_outcome": "completed", "p_result": workflow}
        case Retry(delay, code, message, details):
            return {"p_outcome": "retry", "p_retry_in": delay, **_failure(code, message, details)}
        case Failed(code, message, details):
            return {"p_outcome": "failed", **_failure(code, message, details)}
        case Released(delay, _):
            return {"p_outcome": "released", "p_retry_in": delay}
        case Cancelled():
            return {"p_outcome": "cancelled"}


def _failure(code: str, message: str, details: Mapping[str, object]) -> JsonObject:
    return {"p_error_message": message, "p_error_details": {"code": code, **details}}
