"""The database as the worker sees it: a few RPCs, each safe to repeat. No SQL here (see sql_migrations/).

Only this module knows supabase, postgrest and httpx errors; it raises StoreUnavailable (outcome unknown, repeat) or
StoreRefused (repeating cannot help). Called by dispatcher, lease, runner, heartbeat, and the CLI's commands.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from postgrest.exceptions import APIError
from pydantic import BaseModel, ValidationError
from supabase import AsyncClient, AsyncClientOptions, acreate_client

from consumer.errors import StoreError, StoreRefused, StoreUnavailable
from consumer.hosts import is_local
from consumer.job import Cancelled, Completed, Failed, Job, JsonObject, Outcome, Released, Retry
from consumer.replies import Audit, Claim, Decision, Pulse, Reconciliation, Renewal

JOBS = "workflow_generation_jobs"
# Our own code beside SQLSTATEs: the request could not be written as JSON, or the answer not be read.
UNREADABLE = "UNREADABLE"
# After these the same call may work: SQLSTATE classes, PostgREST's own trouble with the database, HTTP statuses of
# bodies that are no error object (facts/realtime.md §3).
_TRANSIENT = re.compile(r"(08|40|53|55|57|58|XX)\w{3}|PGRST00\d|3\d\d|5\d\d|429|408")
_Answer = TypeVar("_Answer", bound=BaseModel)


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

    def __init__(self, client: AsyncClient, http: httpx.AsyncClient, worker_id: str, lease_seconds: int) -> None:
        self._client = client
        self._http = http
        self._calls: set[asyncio.Future[Any]] = set()
        self.worker_id = worker_id
        self.lease_seconds = lease_seconds

    @classmethod
    async def connect(
        cls, url: str, key: str, *, worker_id: str, lease_seconds: int = 20, access_token: str | None = None
    ) -> Store:
        """Make the client; sends nothing yet. `access_token` acts as that signed-in user instead of the key's role."""
        http = httpx.AsyncClient(
            # HTTP/1.1: supabase-py#1064. No redirects: one would turn an RPC's POST into a GET (facts/realtime.md §3).
            http2=False,
            follow_redirects=False,
            trust_env=not is_local(urlsplit(url).hostname or ""),
            timeout=httpx.Timeout(15, connect=5),
            limits=httpx.Limits(max_connections=20, max_keepalive_connections=10, keepalive_expiry=30),
        )
        headers = {"Authorization": f"Bearer {access_token}"} if access_token else {}
        options = AsyncClientOptions(
            httpx_client=http, auto_refresh_token=False, persist_session=False, headers=headers
        )
        return cls(await acreate_client(url, key, options), http, worker_id, lease_seconds)

    async def aclose(self) -> None:
        """Drop the calls that were left alone, and close the connections."""
        for call in self._calls:
            call.cancel()
        await self._http.aclose()

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
        return _parse(Claim, await self._rpc("claim_workflow_jobs", arguments))

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
                return _parse(Renewal, await self._rpc("renew_workflow_job", arguments))
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
        while self._calls:
            await asyncio.wait(self._calls)
        await self._beat({}, stopping=True)

    async def _beat(self, info: JsonObject, *, stopping: bool) -> Pulse:
        arguments = {"p_worker": self.worker_id, "p_info": info, "p_stopping": stopping}
        return _parse(Pulse, await self._rpc("heartbeat_workflow_worker", arguments))

    async def reconcile(self, *, dry_run: bool = False) -> Reconciliation:
        """Return expired leases to the queue and report what is claimable."""
        return _parse(Reconciliation, await self._rpc("reconcile_workflow_jobs", {"p_dry_run": dry_run}))

    async def submit(self, **fields: Any) -> JsonObject:
        """Insert a job: `prompt`, `mode`, `current_workflow`, `config`, … → `{job_id, status, created}`."""
        arguments = {f"p_{name}": value for name, value in fields.items() if value is not None}
        return _object(await self._rpc("submit_workflow_job", arguments))

    async def cancel(self, job_id: str) -> Decision:
        """Cancel a pending job at once; ask the worker of a running one to stop."""
        return _parse(Decision, await self._rpc("cancel_workflow_job", {"p_job": job_id}))

    async def retry(self, job_id: str) -> Decision:
        """Start a failed or cancelled job again, with all its retries."""
        return _parse(Decision, await self._rpc("retry_workflow_job", {"p_job": job_id}))

    async def audit(self, since: datetime | timedelta | None = None) -> Audit:
        """Check rows against history: of all jobs, or of those that changed since then or within so long."""
        arguments: JsonObject = {"p_limit": 1000}
        if isinstance(since, timedelta):
            arguments["p_within"] = f"{since.total_seconds():.0f} seconds"
        elif since is not None:
            arguments["p_since"] = since.isoformat()
        return _parse(Audit, await self._rpc("audit_workflow_jobs", arguments))

    async def job_row(self, job_id: str) -> JsonObject | None:
        """The whole row, or None when there is none that this caller may see."""
        query = self._client.table(JOBS).select("*").eq("id", job_id).limit(1).retry(False)
        rows = await self._execute(query, f"reading {JOBS}")
        return _object(rows[0]) if isinstance(rows, list) and rows else None

    async def _rpc(self, function: str, arguments: Mapping[str, Any]) -> Any:
        return await self._execute(self._client.rpc(function, dict(arguments)), function)

    async def _execute(self, query: Any, what: str) -> Any:
        """Run a query. A caller that is cancelled leaves it alone: it ends by its own clocks.

        httpcore 1.0 loses a place of its pool for ever when a request is cancelled at the wrong moment; after 20 of
        them no call would get through any more (found by `make soak`).
        """
        call = asyncio.ensure_future(query.execute())
        self._calls.add(call)
        call.add_done_callback(self._ended)
        try:
            return (await asyncio.shield(call)).data
        except APIError as error:
            raise _translated(error, what) from error
        except httpx.HTTPError as error:
            raise StoreUnavailable(f"{what}: {type(error).__name__}: {error}") from error
        except (ValidationError, ValueError, TypeError, UnicodeError, RecursionError) as error:
            raise StoreRefused(f"{what}: {type(error).__name__} in the request or the answer", UNREADABLE) from error

    def _ended(self, call: asyncio.Future[Any]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # looked at, so that nobody is told of an error that nobody waits for


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


def _parse(kind: type[_Answer], answer: Any) -> _Answer:
    """A proxy's HTML page with status 200 arrives as text: that is an outage, not an answer."""
    try:
        return kind.model_validate(answer)
    except ValidationError as error:
        raise StoreUnavailable(f"{kind.__name__}: something other than PostgREST answered") from error


def _object(answer: Any) -> JsonObject:
    if not isinstance(answer, dict):
        raise StoreUnavailable("something other than PostgREST answered")
    return answer


def _translated(error: APIError, what: str) -> StoreError:
    """Never takes `details`: it can hold the whole failing row, prompt included (traces/postgrest.md §4)."""
    code = error.code
    text = f"{what}: {code or 'no code'}: {str(error.message)[:200]}"
    if code is not None and _TRANSIENT.fullmatch(code):
        return StoreUnavailable(text)
    return StoreRefused(text, code)
