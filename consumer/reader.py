"""What people look at, as plain values: lists of jobs. One query each, of bounded size however long the table.

Called by the CLI and by the page behind `--http`. The large columns (prompt, result, logs) are read one job at a time,
by `Store.job_row`.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

from consumer.database import Database
from consumer.replies import JobLine, JobState

# The view of sql_migrations/20; PostgREST gives no more rows than its `db-max-rows`, by default 1000.
JOB_LINES = "workflow_jobs_at_a_glance"
MOST_JOBS = 500
# So many ids fit into an address.
MOST_NAMED = 100


class Cursor(NamedTuple):
    """A place in the list: right after this job. As text `created_at/id`, the time in ISO 8601."""

    created_at: datetime
    id: str

    def __str__(self) -> str:
        return f"{self.created_at.isoformat()}/{self.id}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read what `str()` made.

        Raises:
            ValueError: it is none; says what to write.
        """
        at, slash, job_id = text.partition("/")
        try:
            created_at = datetime.fromisoformat(at)
        except ValueError:
            slash = ""
        if not slash or created_at.tzinfo is None:
            raise ValueError("is no place in the list. Use what the page before it names as `next`.")
        return cls(created_at, job_id)


class JobLines(NamedTuple):
    """One page of jobs, newest first, and where the next page begins; None when this is the last one."""

    jobs: list[JobLine]
    next: Cursor | None


class Reader:
    """Reads through the REST side, as the role of the database's key, or as the signed-in user."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def jobs(
        self, *, status: str | None = None, user: str | None = None, since: datetime | None = None,
        before: Cursor | None = None, limit: int = 50,
    ) -> JobLines:  # fmt: skip
        """Jobs, newest first: of one `status`, of one `user` (uuid), created at or after `since`, at most `limit`.

        Follow `next` as `before` for the page after. At most 500 at once.

        Raises:
            StoreError: as `consumer/database.py` says; a `user` that is no uuid is refused with 22P02.
        """
        limit = min(limit, MOST_JOBS)

        def narrowed(query: Any) -> Any:
            equal = {"status": status, "user_id": user}
            for column, value in equal.items():
                query = query if value is None else query.eq(column, value)
            query = query if since is None else query.gte("created_at", since.isoformat())
            query = query if before is None else _after(query, before)
            # one more than asked for tells whether there is a next page
            return query.order("created_at", desc=True).order("id", desc=True).limit(limit + 1)

        found = await self._database.rows(JOB_LINES, JobLine, narrowed)
        lines = found[:limit]
        more = len(found) > limit and bool(lines)
        return JobLines(lines, Cursor(lines[-1].created_at, lines[-1].id) if more else None)

    async def state(self, job_id: str) -> JobState | None:
        """How this job is doing; None when there is none that this caller may see."""
        found = await self._database.rows(JOB_LINES, JobState, lambda query: query.eq("id", job_id).limit(1))
        return found[0] if found else None

    async def states(self, also: Collection[str] = (), limit: int = 50) -> list[JobState]:
        """How the newest `limit` jobs in work are doing, and those named in `also` (at most 100); the oldest first."""
        named = list(also)[:MOST_NAMED]

        def narrowed(query: Any) -> Any:
            either = f"status.eq.processing,id.in.({','.join(named)})" if named else "status.eq.processing"
            return query.or_(either).order("created_at", desc=True).limit(limit + len(named))

        return (await self._database.rows(JOB_LINES, JobState, narrowed))[::-1]


def _after(query: Any, place: Cursor) -> Any:
    """Rows behind `place`. The first condition repeats what the second says, in a form that bounds the index scan."""
    at = place.created_at.isoformat()
    quoted_id = json.dumps(place.id, ensure_ascii=False)
    return query.lte("created_at", at).or_(f'created_at.lt."{at}",id.lt.{quoted_id}')
