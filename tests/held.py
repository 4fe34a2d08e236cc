"""A stack whose model a test holds and lets go, in loads and in streams; and what became of its jobs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.engine import GENERATE, JOBS, ScriptedModel
from tests.stacks import ThreadedStack, threaded_stack
from tests.waiting import eventually

EVENTS = "public.workflow_job_events"


class HeldModel(ScriptedModel):
    """`load`, when there, keeps every load request waiting; `loads` counts those that have come."""

    def __init__(self) -> None:
        super().__init__()
        self.load: asyncio.Event | None = None
        self.loads = 0

    async def _route(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if path == "/api/chat" and not body.get("messages"):
            self.loads += 1
            if self.load is not None:
                await self.load.wait()
        await super()._route(path, body, writer)


class HeldStack:
    """A threaded stack over a `HeldModel`, and eyes into its database."""

    def __init__(self, stack: ThreadedStack, model: HeldModel) -> None:
        self.stack = stack
        self.model = model
        self.env = stack.stack.env

    def reset(self) -> None:
        """No jobs, nothing held, nothing asked."""
        self.let_go()
        self.stack.clear()
        self.model.asked.clear()
        self.model.loads = 0

    def hold(self, model: str | None = GENERATE, *, load: bool = False) -> None:
        """Hold the streams of this model (None: of all) after their first piece, or with `load` all loads."""
        if load:
            self.model.load = asyncio.Event()
        self.model.hold, self.model.holds = asyncio.Event(), model

    def let_go(self) -> None:
        """Let everything held go on, and hold nothing more."""

        async def release() -> None:
            for held in (self.model.hold, self.model.load):
                if held is not None:
                    held.set()
            self.model.hold = self.model.load = None

        self.stack.call(release())

    def asked(self, model: str, about: str) -> int:
        """How many questions this model has had about jobs whose prompt holds these words."""
        return sum(about in json.dumps(question["messages"]) for question in self.model.questions(model))

    def submit(self, prompt: str) -> str:
        """Insert one job."""
        return self.stack.submit(prompt)[0]

    def sql(self, query: str) -> str:
        """One answer of the database, as its owner."""
        return self.stack.psql(query, user="supabase_admin")

    def as_worker(self, call: str) -> str:
        """What a function answers to a worker."""
        return self.stack.psql(f"begin; set local role service_role; select {call}; commit")

    def status(self, job_id: str) -> str:
        """The job's status."""
        return self.sql(f"select status from {JOBS} where id = '{job_id}'")

    def completed(self, *job_ids: str) -> None:
        """Until all of these are completed."""
        eventually(f"{job_ids} completed", lambda: all(self.status(job_id) == "completed" for job_id in job_ids))

    def history(self, job_id: str) -> str:
        """The kinds of the job's events, in order."""
        return self.sql(f"select string_agg(kind, ' ' order by id) from {EVENTS} where job_id = '{job_id}'")

    def checkpointed(self, job_id: str) -> None:
        """Until the analysis is stored."""
        query = f"select coalesce(checkpoint ? 'analyze', false) from {JOBS} where id = '{job_id}'"
        eventually("the analysis is stored", lambda: self.sql(query) == "t")

    def shorten_leases(self, seconds: float = 0.5) -> None:
        """Let every lease end so many seconds from now."""
        self.sql(
            f"update {JOBS} set lease_expires_at = clock_timestamp() + interval '{seconds} s' "
            "where status = 'processing'"
        )

    def shorten_lease(self, job_id: str, seconds: float = 0.5) -> str:
        """Let the first attempt's lease end so many seconds from now; returns when, or "" when it is over already."""
        return self.sql(
            f"update {JOBS} set lease_expires_at = clock_timestamp() + interval '{seconds} s' "
            f"where id = '{job_id}' and status = 'processing' and attempt = 1 returning lease_expires_at"
        )


@contextmanager
def held_stack() -> Iterator[HeldStack]:
    """A running stack whose model a test may hold."""
    model = HeldModel()
    with threaded_stack(instant=True, model=model) as stack:
        yield HeldStack(stack, model)
