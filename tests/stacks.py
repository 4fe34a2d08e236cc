"""The embedded stack in a thread of its own, for tests whose code is synchronous or talks to it from many processes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from benchmarks.instant_model import InstantModel
from devstack.stack import DevStack

T = TypeVar("T")
FAST = {"poll_busy": 0.02, "poll_idle": 0.05, "handshake_delay": 0.0, "join_error_delay": 0.0}


class ThreadedStack:
    """A `DevStack` whose event loop runs in another thread; `call` runs a coroutine there."""

    def __init__(self, stack: DevStack, instant: InstantModel | None) -> None:
        self.stack = stack
        self.instant = instant
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def call(self, work: Coroutine[Any, Any, T], timeout: float = 120) -> T:
        """Run a coroutine in the stack's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def start(self) -> None:
        """Start the loop, the model stub (when there is one) and the stack."""
        self._thread.start()
        if self.instant is not None:
            self.call(self.instant.__aenter__())
            self.stack._ollama_url = self.instant.url
        self.call(self.stack.start())

    def stop(self) -> None:
        """Stop everything."""
        self.call(self.stack.stop())
        if self.instant is not None:
            self.call(self.instant.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def psql(self, sql: str, user: str = "postgres") -> str:
        """Run SQL in the stack's database."""
        return self.stack.postgres.psql(sql, user=user)

    def submit(self, prompt: str, how_many: int = 1) -> list[str]:
        """Insert jobs as a backend does; returns their ids."""
        quoted = prompt.replace("'", "''")
        return self.psql(
            f"insert into public.workflow_generation_jobs (prompt) select '{quoted}' || n "
            f"from generate_series(1, {how_many}) n returning id"
        ).splitlines()

    def statuses(self) -> dict[str, int]:
        """How many jobs there are in each status."""
        rows = self.psql("select status, count(*) from public.workflow_generation_jobs group by 1").splitlines()
        return {status: int(count) for status, count in (row.split("|") for row in rows)}

    def clear(self) -> None:
        """Forget all jobs."""
        self.psql("delete from public.workflow_generation_jobs", user="supabase_admin")


@contextmanager
def threaded_stack(
    *, instant: bool, realtime: dict[str, Any] | None = None, model: InstantModel | None = None
) -> Iterator[ThreadedStack]:
    """A running stack with the instant model stub (or a `model` made of it), or with the real small model."""
    model = (model or InstantModel()) if instant else None
    stack = DevStack(with_model=not instant, realtime=FAST | (realtime or {}))
    threaded = ThreadedStack(stack, model)
    threaded.start()
    try:
        yield threaded
    finally:
        threaded.stop()
