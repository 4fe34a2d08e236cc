"""The calls about jobs for operators and backends (contract §3); they act with the worker's own key.

Included by the HTTP face. Every call may be repeated when its answer was lost.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

from consumer.claims import Closed
from consumer.http_errors import later
from consumer.http_parts import Form, JobIdPath, Parts, Refusal, in_form
from consumer.job import JsonObject
from consumer.replies import Decision

UNKNOWN = "There is no such job. Check the id."
CLOSED: dict[Closed, str] = {
    "stopping": "This worker stops. Ask another one.",
    "paused": "This worker is paused. Resume it: POST /resume, or consumer resume and its id.",
    "model server": "This worker takes no job while its model server is in trouble. See /health.",
    "busy": "All slots of this worker are in use, or the job must run alone. Try again later.",
}


_ONE: dict[int | str, dict[str, Any]] = {404: {"model": Refusal}, 422: {"model": Refusal}}
_CHANGE = {**_ONE, 409: {"model": Refusal}}


class JobStatus(BaseModel):
    """How a job is doing: the columns of its row that the contract names."""

    id: str
    status: str
    progress_percentage: int | None
    current_phase: str | None
    workflow_result: JsonObject | None
    error_message: str | None
    error_details: JsonObject | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: int | None
    worker_id: str | None
    retry_count: int
    progress_logs: list[Any] | None
    observability: JsonObject | None


class Processing(BaseModel):
    """The job is in work here."""

    status: Literal["processing"] = "processing"
    job_id: str
    worker_id: str


class Polled(BaseModel):
    """The jobs that this call has begun."""

    status: Literal["no_jobs", "processing"]
    count: int
    job_ids: list[str]


class Decided(BaseModel):
    """The job's status now. A job in work that is to be cancelled is still `processing`."""

    job_id: str
    status: str
    message: str


def router(parts: Parts) -> APIRouter:
    """The routes under /jobs."""
    routes = APIRouter(prefix="/jobs", tags=["jobs"], responses={503: {"model": Refusal}})
    _add_claims(routes, parts)
    _add_decisions(routes, parts)

    @routes.get("/{job_id}/status", responses=_ONE)
    async def status(job_id: JobIdPath, form: Form = None) -> JobStatus:
        """How a job is doing."""
        row = await _row(parts, job_id)
        return JobStatus.model_validate({**row, "workflow_result": in_form(form, row["workflow_result"], parts)})

    return routes


def _add_claims(routes: APIRouter, parts: Parts) -> None:
    @routes.post("/poll")
    async def poll() -> Polled:
        """Claim what is claimable now and free slots allow."""
        taken = await parts.status.dispatcher.poll()
        if taken.closed not in (None, "busy"):
            raise _closed(taken.closed)
        status: Literal["no_jobs", "processing"] = "processing" if taken.jobs else "no_jobs"
        return Polled(status=status, count=len(taken.jobs), job_ids=list(taken.jobs))

    @routes.post("/{job_id}/process", status_code=202, responses=_CHANGE)
    async def process(job_id: JobIdPath) -> Processing:
        """Claim this very job here, also before its time. 409: it is not pending; 503: no room for it here now."""
        taken = await parts.status.dispatcher.process(job_id)
        if not taken.jobs:
            row = await _row(parts, job_id)
            if row["status"] != "pending":
                raise HTTPException(409, f"The job is {row['status']}; only a pending job can be processed.")
            raise _closed(taken.closed)
        return Processing(job_id=job_id, worker_id=parts.status.settings.worker_id)


def _add_decisions(routes: APIRouter, parts: Parts) -> None:
    @routes.post("/{job_id}/cancel", status_code=202, responses=_CHANGE)
    async def cancel(job_id: JobIdPath) -> Decided:
        """Cancel a job: one that waits at once, one in work as soon as its worker hears of it."""
        return _decided(job_id, await parts.store.cancel(job_id), "pending or processing job can be cancelled")

    @routes.post("/{job_id}/retry", status_code=202, responses=_CHANGE)
    async def retry(job_id: JobIdPath) -> Decided:
        """Start a failed or cancelled job again, with all its retries."""
        return _decided(job_id, await parts.store.retry(job_id), "failed or cancelled job can be started again")


async def _row(parts: Parts, job_id: str) -> JsonObject:
    row = await parts.store.job_row(job_id)
    if row is None:
        raise HTTPException(404, UNKNOWN)
    return row


def _closed(why: Closed | None) -> HTTPException:
    return HTTPException(503, CLOSED[why or "busy"], later())


def _decided(job_id: str, decision: Decision, rule: str) -> Decided:
    if not decision.found or decision.status is None:
        raise HTTPException(404, UNKNOWN)
    if not decision.accepted:
        raise HTTPException(409, f"The job is {decision.status}; only a {rule}.")
    asked = decision.status == "processing"
    message = "The worker has been asked to stop it." if asked else f"The job is {decision.status}."
    return Decided(job_id=job_id, status=decision.status, message=message)
