"""The Redis queue as an operator knows it: set REDIS_URL, and Redis may come, go and lose workers as it likes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.faults import FaultPoint
from tests.acceptance.test_http import Figures, listening
from tests.crashing import KILLED, QUIET, Fault, working
from tests.held import HeldStack
from tests.redis_server import RedisServer, redis_server
from tests.waiting import eventually

WORKERS = "public.workflow_workers"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


def test_a_worker_is_killed_between_its_ring_and_its_claim_and_another_takes_the_job(
    held: HeldStack, redis: RedisServer, tmp_path: Path
) -> None:
    env = held.env | QUIET | {"REDIS_URL": redis.url}
    with (
        working(env, tmp_path) as other,
        working(env, tmp_path, Fault(FaultPoint.RING_WON, "kill")) as victim,
    ):
        for worker in (other, victim):
            worker.wait_for("Redis answers")
        other.signal(signal.SIGSTOP)
        job_id = held.submit("whose is it")
        assert victim.ended() == KILLED
        assert held.status(job_id) == "pending"
        other.signal(signal.SIGCONT)
        held.completed(job_id)
    assert held.history(job_id) == "claimed completed"


def test_an_operator_sees_whether_redis_is_used(held: HeldStack, redis: RedisServer, tmp_path: Path) -> None:
    row = f"select info->>'redis_available' from {WORKERS} where worker_id = 'it-1'"
    more = {"REDIS_URL": redis.url, "HEARTBEAT_SECONDS": "1", "WORKER_ID": "it-1"}
    with listening(held.stack, tmp_path, **more) as (worker, client):
        used = {"redis_available": True, "warnings": []}
        eventually("it is used", lambda: used.items() <= client.get("/health").json().items())
        eventually("the row says so", lambda: held.sql(row) == "true")
        redis.kill()
        worker.wait_for("Redis is away")
        said = client.get("/health")
        assert (said.status_code, said.json()["status"], said.json()["redis_available"]) == (200, "healthy", False)
        (warning,) = said.json()["warnings"]
        assert warning.startswith("redis: every idle worker looks at each new job, as without REDIS_URL")
        eventually("the row says so", lambda: held.sql(row) == "false")
        figures = Figures(client)
        assert (figures.of("redis_up"), figures.of("redis_fallbacks_total") >= 1) == (0, True)
        redis.start()
        worker.wait_for("Redis answers")
        eventually("it is used again", lambda: used.items() <= client.get("/health").json().items())
        eventually("the figure says so", lambda: Figures(client).of("redis_up") == 1)
