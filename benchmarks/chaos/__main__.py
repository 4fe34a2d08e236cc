"""`make chaos`: the full run. Exit code 1 when a job was lost or settled twice, or the audit found something."""

from __future__ import annotations

import asyncio

import click

from benchmarks.chaos.run import Options, chaos
from benchmarks.chaos.verdict import show

DEFAULTS = Options()


@click.command()
@click.option("--jobs", default=DEFAULTS.jobs, show_default=True, type=click.IntRange(1))
@click.option("--workers", default=DEFAULTS.workers, show_default=True, type=click.IntRange(1, 50))
@click.option("--seed", default=DEFAULTS.seed, show_default=True)
def main(jobs: int, workers: int, seed: int) -> None:
    """Run many jobs through workers, connections, a database and a model server that keep failing; then audit."""
    report = asyncio.run(chaos(Options(jobs=jobs, workers=workers, seed=seed)))
    show(report)
    if not report.good:
        raise SystemExit(1)


main()
