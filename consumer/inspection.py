"""What an inspected database lacks, and the way out of each. Pure; called by doctor, heartbeat, inspector and status.

The facts are those of `inspect_workflow_schema` (sql_migrations/24).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from consumer.replies import Inspection

APPLY = "Apply the migrations: supabase db push (or run sql_migrations/*.sql in order)"
PUBLISH = "Run: alter publication supabase_realtime add table"
# Seconds that this host's clock may be off before it is said, and before callers' tokens and what the model server
# holds (its `expires_at`) are judged wrongly. Jobs go by the database's clock alone.
CLOCK_NOTICED, CLOCK_HARMFUL = 5.0, 300.0
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing that is wrong in the database: the part it belongs to, what was found, what to do.

    `stops_work`: jobs wait, or fail, as long as it is so; otherwise it is to be looked at.
    """

    part: str
    found: str
    advice: str
    stops_work: bool = True

    def __str__(self) -> str:
        return f"{self.part}: {self.found}. {self.advice}"


def defects(found: Inspection) -> list[Defect]:
    """All that is wrong, in the order in which it should be mended."""
    return [*_schema(found), *_publication(found), *_rights(found), *_rows(found), *_storage(found)]


def clock_off(asked: float, answered: float, now: float) -> float:
    """How far this host's clock is certainly off, in seconds; over 0: ahead of the database's.

    The database said `now` at some moment between `asked` and `answered`, which are this host's times.
    """
    return max(asked - now, 0.0) or min(answered - now, 0.0)


def clock_defect(off: float) -> Defect | None:
    """What is to be said about a clock that is `off`; None while it is right enough."""
    if abs(off) < CLOCK_NOTICED:
        return None
    found = f"this host is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the database"
    return Defect("clock", found, "Set it: timedatectl set-ntp true", stops_work=abs(off) >= CLOCK_HARMFUL)


def _schema(found: Inspection) -> Iterator[Defect]:
    if found.missing:
        yield Defect("schema", f"the database lacks {_some(found.missing)}", APPLY)


def _publication(found: Inspection) -> Iterator[Defect]:
    if not found.logical:
        yield Defect("publication", "wal_level is not logical, so no change is published", "Set it and restart it")
    if not found.published:
        create = "Run: create publication supabase_realtime (it publishes inserts and updates), then add the tables"
        yield Defect("publication", "there is no supabase_realtime that publishes inserts and updates", create)
    elif found.unpublished:
        tables = ", ".join(found.unpublished)
        yield Defect("publication", f"supabase_realtime lacks {tables}", f"{PUBLISH} {tables}")
    if found.without_identity:
        table = found.without_identity[0]
        advice = f"Run: alter table {table} replica identity default"
        yield Defect("publication", f"{table} has no replica identity, so its updates fail", advice)


def _rights(found: Inspection) -> Iterator[Defect]:
    if found.rights_missing:
        yield Defect("grants", f"missing: {_some(found.rights_missing)}", APPLY)
    if found.rights_excess:
        revoke = "Revoke what no migration of yours has meant to grant"
        yield Defect("grants", f"more than is needed: {_some(found.rights_excess)}", revoke, stops_work=False)


def _rows(found: Inspection) -> Iterator[Defect]:
    if not found.bypasses_rls:
        yield Defect("rls", "service_role does not bypass it", "Run as superuser: alter role service_role bypassrls")
    if found.open_tables:
        enable = f"Run: alter table {found.open_tables[0]} enable row level security"
        yield Defect("rls", f"is off on {_some(found.open_tables)}", enable, stops_work=False)
    if found.foreign_policies:
        look = "Look whether they show rows to others than their owner"
        yield Defect("rls", f"has policies that are not ours: {_some(found.foreign_policies)}", look, stops_work=False)


def _storage(found: Inspection) -> Iterator[Defect]:
    if found.read_only:
        yield Defect(
            "storage", "the database is read only", "Is its disk full? Free or add space, then make it writable"
        )
    if found.invalid_indexes:
        rebuild = f"Run: reindex index {found.invalid_indexes[0]}"
        yield Defect("storage", f"invalid: {_some(found.invalid_indexes)}", rebuild, stops_work=False)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
