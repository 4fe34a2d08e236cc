"""A short seeded run of the chaos runner: every kind of trouble once. `make chaos` is the full one."""

from __future__ import annotations

import asyncio

from benchmarks.chaos.run import Options, chaos
from benchmarks.chaos.verdict import show

SHORT = Options(jobs=150, workers=2, seed=11, pause=(0.1, 0.5), severity=0.4, model_faults=0.03, patience=150)


def test_nothing_is_lost_and_nothing_done_twice_while_everything_fails_in_turn() -> None:
    report = asyncio.run(chaos(SHORT))
    show(report)
    assert (report.lost, report.settled_twice, report.doubled_attempts, report.tracebacks) == (0, 0, 0, [])
    assert report.audit_exit == 0, report.audit
    assert sum(report.statuses.values()) == SHORT.jobs
    assert report.statuses["completed"] >= SHORT.jobs * 0.8
    assert report.faults["worker killed"] >= 1
    assert report.faults["database crashed"] >= 1
