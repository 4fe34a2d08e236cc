"""What is counted at the end of a chaos run, and the table. It reads the database only, not what workers say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from devstack.postgres import Postgres

TERMINAL = "('completed', 'failed', 'cancelled')"
ACTIVE = "status in ('pending', 'processing')"
_FIGURES = f"""
select json_build_object(
  'statuses', (select json_object_agg(status, n) from (
     select status, count(*) n from public.workflow_generation_jobs group by 1) s),
  'failures', (select coalesce(json_object_agg(code, n), '{{}}') from (
     select error_details ->> 'code' code, count(*) n from public.workflow_generation_jobs
     where status = 'failed' group by 1) f),
  'events', (select json_object_agg(kind, n) from (
     select kind, count(*) n from public.workflow_job_events group by 1) e),
  'most_attempts', (select max(attempt) from public.workflow_generation_jobs),
  'settled_twice', (select count(*) from (
     select from public.workflow_job_events group by job_id
     having count(*) filter (where kind in {TERMINAL}) - count(*) filter (where kind = 'retried') > 1) t),
  'doubled_attempts', (select count(*) from (
     select from public.workflow_job_events where kind = 'claimed' group by job_id, attempt having count(*) > 1) d))
"""


@dataclass(frozen=True, slots=True)
class Report:
    """A run's figures. `lost`: inserted, and neither finished nor there. `audit`: what `consumer audit` printed."""

    seed: int
    jobs: int
    workers: int
    seconds: float
    lost: int
    settled_twice: int
    doubled_attempts: int
    most_attempts: int
    statuses: Mapping[str, int]
    failures: Mapping[str, int]
    events: Mapping[str, int]
    faults: Mapping[str, int]
    ends: Mapping[int, int]
    tracebacks: list[str]
    audit_exit: int
    audit: str

    @property
    def good(self) -> bool:
        """Nothing lost, nothing twice, nothing unexplained."""
        wrong = self.lost or self.settled_twice or self.doubled_attempts or self.tracebacks
        return not wrong and self.audit_exit == 0


def figures(postgres: Postgres, jobs: int) -> dict[str, Any]:
    """The part of a report that the database knows; `jobs` is how many were inserted."""
    found: dict[str, Any] = json.loads(postgres.psql(_FIGURES, user="supabase_admin"))
    over = sum(n for status, n in found["statuses"].items() if status not in ("pending", "processing"))
    return {**found, "lost": jobs - over}


def show(report: Report) -> None:
    """The table on stdout."""
    table = Table(title=f"chaos: {report.jobs} jobs, {report.workers} workers, seed {report.seed}", show_header=False)
    table.add_row("wall", f"{report.seconds:.0f} s, {report.jobs / report.seconds:.1f} jobs/s")
    table.add_row("lost", str(report.lost))
    table.add_row("settled twice", str(report.settled_twice))
    table.add_row("attempts with two owners", str(report.doubled_attempts))
    table.add_row("jobs", _counts(report.statuses))
    table.add_row("failed by code", _counts(report.failures) or "none")
    table.add_row("history", _counts(report.events))
    table.add_row("most attempts of a job", str(report.most_attempts))
    table.add_row("faults", _counts(report.faults))
    table.add_row("worker exits", _counts({str(code): n for code, n in report.ends.items()}))
    table.add_row("tracebacks", str(len(report.tracebacks)))
    table.add_row("audit", f"exit {report.audit_exit}: {report.audit}")
    Console(width=120).print(table)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in Counter(counts).most_common())
