"""The calls about one job, for operators and backends (contract §3); they act with the worker's own key.

Included by the HTTP face.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

from consumer.http_parts import JobIdPath, Parts, Refusal
from consumer.job import JsonObject

UNKNOWN = "There is no such job. Check the id."


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


def router(parts: Parts) -> APIRouter:
    """The routes under /jobs."""
    routes = APIRouter(prefix="/jobs", tags=["jobs"], responses={404: {"model": Refusal}, 503: {"model": Refusal}})

    @routes.get("/{job_id}/status")
    async def status(job_id: JobIdPath) -> JobStatus:
        """How a job is doing."""
        row = await parts.store.job_row(job_id)
        if row is None:
            raise HTTPException(404, UNKNOWN)
        return JobStatus.model_validate(row)

    return routes
