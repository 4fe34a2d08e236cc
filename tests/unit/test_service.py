"""What feeds systemd's watchdog: every task's sign of life, and none that is overdue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from consumer import systemd
from consumer.dispatcher import Dispatcher
from consumer.doorbell import Doorbell
from consumer.heartbeat import Heartbeat, Rhythm
from consumer.lanes import Lanes
from consumer.reconciler import Reconciler
from consumer.service import Service
from consumer.status import Status
from consumer.vitals import Sign
from tests.notified import Manager, manager


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    with manager(tmp_path, WATCHDOG_USEC="30000") as it:
        for name, value in it.env.items():
            monkeypatch.setenv(name, value)
        yield it


def status() -> Any:
    return SimpleNamespace(sentence="ready", stopping=lambda: False, announcer=SimpleNamespace(started=True))


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()


async def heard(listening: Manager, word: str) -> str:
    return await asyncio.to_thread(listening.wait_for, word)


async def test_a_task_that_is_stuck_withholds_the_watchdogs_food_and_nothing_else(listening: Manager) -> None:
    well, stuck = Sign("heartbeat"), Sign("dispatcher")
    service = Service(status(), (well, stuck))
    async with running(service.run()):
        await heard(listening, "WATCHDOG=1")
        stuck.within(-1)
        assert await asyncio.to_thread(listening.is_silent, 0.3)
        stuck.rest()
        well.within(600)
        await heard(listening, "WATCHDOG=1")


async def test_where_systemd_does_not_watch_it_is_not_fed(listening: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC")
    monkeypatch.setattr("consumer.service.PAUSE", 0.01)
    async with running(Service(status(), ()).run()):
        await heard(listening, "READY=1")
        assert await asyncio.to_thread(listening.is_silent, 0.2)


async def test_outside_systemd_the_pulse_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    await Service(status(), ()).run()


def test_the_same_news_is_told_once(listening: Manager) -> None:
    service = Service(status(), ())
    service.changed()
    service.changed()
    assert listening.waiting() == ["READY=1\nSTATUS=ready"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"started": False}, "starting: waiting for Realtime"),
        ({}, "ready, waiting for jobs"),
        ({"running": ["a", "b"]}, "ready, 2 job(s) in work"),
        ({"degraded": "HTTP 503"}, "degraded: no Realtime, jobs are found by heartbeat (HTTP 503), 0 job(s) in work"),
        ({"degraded": "HTTP 503", "why": "it hangs"}, "no jobs taken: it hangs"),
        ({"stopping": True, "why": "it hangs", "running": ["a"]}, "stopping, 1 job(s) in work"),
    ],
)
def test_one_sentence_says_how_the_worker_is(given: dict[str, Any], sentence: str) -> None:
    why = given.get("why")
    worker: Any = SimpleNamespace(
        stopping=lambda: given.get("stopping", False),
        announcer=SimpleNamespace(started=given.get("started", True), degraded=given.get("degraded")),
        recovery=SimpleNamespace(trouble=SimpleNamespace(why=why) if why else None),
        runner=SimpleNamespace(running=given.get("running", [])),
        dispatcher=SimpleNamespace(paused=False),
    )
    assert Status.sentence.__get__(worker) == sentence


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [("30000000", None, 30), ("30000000", "ours", 30), ("30000000", "1", None), ("0", None, None), ("", None, None),
     ("soon", None, None)],
)  # fmt: skip
def test_systemd_says_whether_and_how_closely_it_watches(
    monkeypatch: pytest.MonkeyPatch, usec: str, pid: str | None, seconds: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if pid is not None:
        monkeypatch.setattr("os.getpid", lambda: 77)
        monkeypatch.setenv("WATCHDOG_PID", "77" if pid == "ours" else pid)
    assert systemd.watchdog_seconds() == seconds


class Held:
    """A database that never answers; `asked` is set once it is."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def heartbeat(self, *_: object, **__: object) -> None:
        self.asked.set()
        await asyncio.Event().wait()

    claim = reconcile = heartbeat


async def stuck_dispatcher(store: Any) -> Dispatcher:
    unused: Any = SimpleNamespace(running=[])
    bell = Doorbell()
    bell.ring("start")
    return Dispatcher(store, unused, bell, Lanes({}), max_retries=None)


async def stuck_heartbeat(store: Any) -> Heartbeat:
    listener: Any = SimpleNamespace(state=None, sessions=0)
    unused: Any = None
    return Heartbeat(store, listener, unused, unused, Rhythm(interval=0, canary=0), dict)


async def stuck_reconciler(store: Any) -> Reconciler:
    unused: Any = None
    return Reconciler(store, unused, unused)


@pytest.mark.parametrize("made", [stuck_dispatcher, stuck_heartbeat, stuck_reconciler])
async def test_a_call_that_never_ends_makes_its_task_overdue(
    monkeypatch: pytest.MonkeyPatch, made: Callable[[Any], Coroutine[Any, Any, Any]]
) -> None:
    for module in ("dispatcher", "heartbeat", "reconciler"):
        monkeypatch.setattr(f"consumer.{module}.LONGEST_CALL", -60.0)
    store = Held()
    task = await made(store)
    assert not task.sign.overdue
    async with running(task.run()):
        await store.asked.wait()
        assert task.sign.overdue
