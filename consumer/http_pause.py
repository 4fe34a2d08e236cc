"""The calls that pause and resume this worker. Included by the HTTP face."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

from consumer.http_errors import later
from consumer.http_parts import Parts, Refusal


class PauseState(BaseModel):
    """Whether this worker is paused."""

    worker_id: str
    paused: bool


def router(parts: Parts) -> APIRouter:
    """POST /pause and /resume; they may be repeated."""
    routes = APIRouter(tags=["worker"], responses={503: {"model": Refusal}})

    @routes.post("/pause")
    async def pause() -> PauseState:
        """Claim nothing more; jobs in work go on. Lasts until resumed, also over a restart under the same name."""
        return await _set(parts, paused=True)

    @routes.post("/resume")
    async def resume() -> PauseState:
        """Claim again."""
        return await _set(parts, paused=False)

    return routes


async def _set(parts: Parts, *, paused: bool) -> PauseState:
    worker_id = parts.status.settings.worker_id
    if not await parts.store.pause(worker_id, paused=paused):
        raise HTTPException(503, "The worker's row is not there; its next heartbeat writes it.", later())
    parts.status.dispatcher.pause(paused)
    return PauseState(worker_id=worker_id, paused=paused)
