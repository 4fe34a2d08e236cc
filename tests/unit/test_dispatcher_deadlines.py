"""The one timer of the dispatcher: a deadline rings once, the newest one counts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from consumer.dispatcher import Dispatcher
from consumer.doorbell import DEADLINE_SLACK, LONGEST_TIMER, Doorbell
from consumer.errors import StoreUnavailable
from consumer.lanes import Lanes
from consumer.replies import Claim
from tests.engine import until


class CountingBell(Doorbell):
    """Counts its rings."""

    def __init__(self) -> None:
        super().__init__()
        self.rings: list[str] = []

    def ring(self, source: Any, job_id: str | None = None, at: float | None = None) -> None:
        self.rings.append(source)
        super().ring(source, job_id, at)


@pytest.fixture
async def bell() -> CountingBell:
    return CountingBell()


@pytest.fixture
async def dispatcher(bell: CountingBell) -> Dispatcher:
    unused: Any = None
    return Dispatcher(unused, unused, bell, Lanes({}), max_retries=None)


async def test_a_deadline_rings_once(dispatcher: Dispatcher, bell: CountingBell) -> None:
    dispatcher.due_in(0)
    await asyncio.wait_for(bell.wait(), 10)
    bell.clear()
    await asyncio.sleep(3 * DEADLINE_SLACK)
    assert bell.rings == ["deadline"]


async def test_a_new_deadline_replaces_the_old_one(dispatcher: Dispatcher, bell: CountingBell) -> None:
    for _ in range(50):
        dispatcher.due_in(0)
    await asyncio.wait_for(bell.wait(), 10)
    await asyncio.sleep(3 * DEADLINE_SLACK)
    assert bell.rings == ["deadline"]


async def test_none_clears_it(dispatcher: Dispatcher, bell: CountingBell) -> None:
    dispatcher.due_in(0)
    dispatcher.due_in(None)
    await asyncio.sleep(3 * DEADLINE_SLACK)
    assert bell.rings == []


@pytest.mark.parametrize(("seconds", "longest"), [(-5.0, DEADLINE_SLACK), (1e12, LONGEST_TIMER)])
async def test_odd_deadlines_are_bounded(
    dispatcher: Dispatcher, bell: CountingBell, seconds: float, longest: float
) -> None:
    dispatcher.due_in(seconds)
    assert bell._alarm is not None
    assert bell._alarm.when() <= asyncio.get_running_loop().time() + longest
    dispatcher.due_in(None)


async def test_stop_wakes_a_dispatcher_that_waits(dispatcher: Dispatcher) -> None:
    running = asyncio.create_task(dispatcher.run())
    await asyncio.sleep(0)
    dispatcher.stop()
    await asyncio.wait_for(running, 10)


async def test_a_deadline_from_elsewhere_does_not_put_off_the_repeat_of_a_failed_claim(bell: CountingBell) -> None:
    class Away:
        """Answers the second claim."""

        asked = 0

        async def claim(self, *_: object, **__: object) -> Claim:
            self.asked += 1
            if self.asked == 1:
                raise StoreUnavailable("the reply was lost")
            return Claim(jobs=[])

    away: Any = Away()
    unused: Any = None
    dispatcher = Dispatcher(away, unused, bell, Lanes({}), max_retries=None)
    running = asyncio.create_task(dispatcher.run())
    bell.ring("manual")
    await until("the first claim has failed", lambda: away.asked == 1 and dispatcher.idle)
    dispatcher.due_in(600)  # a heartbeat says: nothing is claimable, the next lease runs out in ten minutes
    await until("the claim was repeated", lambda: away.asked == 2 and dispatcher.idle)
    dispatcher.due_in(0)
    await until("and deadlines count again", lambda: away.asked == 3)
    dispatcher.stop()
    await asyncio.wait_for(running, 10)


async def test_a_dispatcher_that_has_just_been_rung_for_is_not_idle(dispatcher: Dispatcher, bell: CountingBell) -> None:
    """Or else a heartbeat that is answered just then takes the work that is about to be claimed for a missed event."""
    idle = []
    for act in (bell.clear, lambda: bell.ring("slot"), bell.clear):
        act()
        idle.append(dispatcher.idle)
    assert idle == [True, False, True]
