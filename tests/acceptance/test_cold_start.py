"""A cold feed loses what is inserted between the join's reply and its `system` message; the worker must not."""

from __future__ import annotations

from pathlib import Path

from tests.processes import running
from tests.stacks import threaded_stack
from tests.waiting import eventually


def test_rows_inserted_while_the_feed_is_cold_are_not_lost(tmp_path: Path) -> None:
    with (
        threaded_stack(instant=True, realtime={"cold_start": (2.0, 2.0)}) as stack,
        running("run", env=stack.stack.env | {"HEARTBEAT_SECONDS": "300"}, cwd=tmp_path) as worker,
    ):
        eventually(
            "the worker has registered", lambda: stack.psql("select count(*) from public.workflow_workers") == "1"
        )
        for _ in range(10):
            stack.submit("cold ")
        worker.wait_for("ready: waiting for jobs")
        eventually("all ten are completed", lambda: stack.statuses() == {"completed": 10})
