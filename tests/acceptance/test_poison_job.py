"""A job that kills its worker each time ends as failed, with its history; the jobs beside and behind it are done."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from consumer.faults import FaultPoint
from tests.crashing import KILLED, QUIET, Fault, started, working
from tests.engine import ANALYZE, JOBS
from tests.held import HeldStack
from tests.waiting import eventually

POISON = Fault(FaultPoint.STREAMING, "kill", "poison")
TRIES = 4


def starts_until_it_is_dead(held: HeldStack, folder: Path, poison: str, **more: str) -> None:
    """A supervisor's work: start the worker again whenever it is killed; leases end half a second after each death."""
    for _ in range(TRIES):
        with started(held.env | QUIET | more, folder, POISON) as worker:
            assert worker.ended() == KILLED
        held.shorten_leases()
    with started(held.env | QUIET | more, folder, POISON) as worker:
        eventually("the poison is given up", lambda: held.status(poison) == "failed")
        eventually("nothing is left", lambda: held.sql(f"select bool_and(finished_at is not null) from {JOBS}") == "t")
        worker.signal(signal.SIGTERM)
        assert worker.ended() == 0


def retries(held: HeldStack, job_id: str) -> int:
    return int(held.sql(f"select retry_count from {JOBS} where id = '{job_id}'"))


def test_one_worker_that_is_started_again_fails_it_honestly_and_does_what_waited_behind(
    held: HeldStack, tmp_path: Path
) -> None:
    poison = held.submit("poison ")
    behind = [held.submit("harmless ") for _ in range(4)]
    starts_until_it_is_dead(held, tmp_path, poison, MODEL_BATCH_SIZE="1")
    assert held.history(poison) == "claimed rescued " * 3 + "claimed failed"
    message, details = held.sql(f"select error_message, error_details from {JOBS} where id = '{poison}'").split("|", 1)
    told = json.loads(details)
    assert message == "The worker that had the job stopped answering."
    assert (told["code"], told["cause"], told["attempt"]) == ("ATTEMPTS_EXHAUSTED", "LEASE_LOST", TRIES)
    assert [(tried["attempt"], tried["code"]) for tried in told["history"]] == [(n, "LEASE_LOST") for n in (1, 2, 3)]
    assert {held.history(job_id) for job_id in behind} == {"claimed completed"}


@pytest.mark.parametrize("more", [{"WORKER_CONCURRENCY": "4"}, {}], ids=["four slots", "taken ahead for a batch"])
def test_what_runs_beside_it_loses_one_attempt_and_no_more(
    held: HeldStack, tmp_path: Path, more: dict[str, str]
) -> None:
    poison = held.submit("poison ")
    beside = [held.submit("harmless ") for _ in range(3)]
    starts_until_it_is_dead(held, tmp_path, poison, **more)
    assert held.history(poison) == "claimed rescued " * 3 + "claimed failed"
    assert [held.status(job_id) for job_id in beside] == ["completed"] * 3
    assert all(retries(held, job_id) <= 1 for job_id in beside)


def test_a_second_worker_does_the_others_meanwhile(held: HeldStack, tmp_path: Path) -> None:
    poison = held.submit("poison ")
    with started(held.env | QUIET, tmp_path, POISON) as first:
        assert first.ended() == KILLED
    behind = [held.submit("harmless ") for _ in range(4)]
    with working(held.env | QUIET, tmp_path, POISON):
        held.completed(*behind)
    assert (held.status(poison), held.asked(ANALYZE, "poison")) == ("processing", 1)
    assert {held.history(job_id) for job_id in behind} == {"claimed completed"}
