"""What the page at `/` asks for: everything at once, the news of it as they come, and single jobs.

Included by the HTTP face, which asks for the token before all of these but the page's files (page_files.py). None of
this is part of the documented API.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Send

from consumer import page_files
from consumer.http_jobs import UNKNOWN
from consumer.http_parts import JobIdPath, Parts
from consumer.job import JsonObject
from consumer.page_feed import Feed
from consumer.page_job import detail, drawing, listed
from consumer.reader import Cursor, Reader

# A drawing opened on its own: its labels are text of models.
DRAWING_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
Ended = Annotated[Literal["completed", "failed", "cancelled"] | None, Query()]
# Jobs of one page of the list.
OLDER = 50
CROWDED = "Too many pages watch this worker. Close some, or wait."


class _Stream(StreamingResponse):
    """Leaves the feed as soon as its viewer is gone."""

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self.body_iterator):  # type: ignore[type-var]  # it is the feed's generator
            await super().stream_response(send)


def router(parts: Parts) -> APIRouter:
    """The routes `/` and `/page/…`."""
    routes = APIRouter(include_in_schema=False)
    routes.include_router(page_files.router())
    feed = Feed(parts.status, parts.store.database, parts.over)

    @routes.get("/page/overview")
    async def overview() -> Response:
        return Response(await feed.overview(), media_type="application/json")

    @routes.get("/page/live")
    async def live() -> Response:
        if feed.full:
            raise HTTPException(503, CROWDED, headers={"Retry-After": "30"})
        return _Stream(feed.events(), media_type="text/event-stream")

    @routes.get("/page/jobs")
    async def jobs(status: Ended = None, before: str | None = None) -> JSONResponse:
        found = await Reader(parts.store.database).jobs(status=status, before=_place(before), limit=OLDER)
        return JSONResponse({"jobs": [listed(each) for each in found.jobs], "next": found.next and str(found.next)})

    @routes.get("/page/jobs/{job_id}")
    async def job(job_id: JobIdPath) -> JSONResponse:
        return JSONResponse(await asyncio.to_thread(detail, await _row(feed, job_id), parts.catalog))

    @routes.get("/page/jobs/{job_id}/workflow.svg")
    async def workflow(job_id: JobIdPath) -> Response:
        drawn = await asyncio.to_thread(drawing, await _row(feed, job_id), parts.catalog)
        if drawn is None:
            raise HTTPException(404, "The job has no workflow that can be drawn.")
        return Response(drawn, media_type="image/svg+xml", headers={"Content-Security-Policy": DRAWING_POLICY})

    return routes


def _place(text: str | None) -> Cursor | None:
    try:
        return None if text is None else Cursor.parse(text)
    except ValueError as error:
        raise HTTPException(422, f"before: {error}") from None


async def _row(feed: Feed, job_id: str) -> JsonObject:
    row = await feed.job(job_id)
    if row is None:
        raise HTTPException(404, UNKNOWN)
    return row
