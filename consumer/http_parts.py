"""What the routes of the HTTP face need, in one object; made by the face, passed to every router."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated, Literal

from fastapi import Path, Query
from pydantic import BaseModel

from consumer.job import JOB_ID_PATTERN, JsonObject
from consumer.prometheus import Exporter
from consumer.status import Status
from consumer.store import Store
from handlers.editor import editor_form
from schemas.catalog import Catalog

Form = Annotated[
    Literal["editor"] | None, Query(description="editor: the workflow as the editor loads it, not as it is stored.")
]
JobIdPath = Annotated[str, Path(pattern=JOB_ID_PATTERN, description="The job's id.")]


@dataclass(frozen=True, slots=True)
class Parts:
    """`status` knows the worker's settings and live parts; `store` speaks to the database with the worker's key.

    `over` is set when the face ends: answers that go on and on end then.
    """

    status: Status
    figures: Exporter
    store: Store
    catalog: Catalog
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Refusal(BaseModel):
    """Every answer that is an error; `details`, where there are any, say what exactly is wrong."""

    error: str
    details: str | list[str] | None = None


def in_form(form: str | None, workflow: JsonObject | None, parts: Parts) -> JsonObject | None:
    """The stored workflow in the form that was asked for (contract §5)."""
    return editor_form(workflow, parts.catalog) if form == "editor" and workflow else workflow
