from __future__ import annotations

import asyncio
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from consumer.doorbell import Doorbell

JOBS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", None]))


async def test_waiting_ends_with_a_ring() -> None:
    bell = Doorbell()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    bell.ring("slot")
    await asyncio.wait_for(waiting, 5)


async def test_a_bell_stays_rung_until_it_is_cleared() -> None:
    bell = Doorbell()
    bell.ring("start")
    await asyncio.wait_for(bell.wait(), 5)
    await asyncio.wait_for(bell.wait(), 5)
    bell.clear()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_a_ring_after_the_clear_is_kept_for_the_next_claim() -> None:
    bell = Doorbell()
    bell.ring("postgres_changes", "before")
    assert list(bell.clear()) == ["before"]
    bell.ring("postgres_changes", "during the claim")
    await asyncio.wait_for(bell.wait(), 5)
    assert list(bell.clear()) == ["during the claim"]


async def test_the_first_ring_of_a_job_is_the_one_that_counts() -> None:
    bell = Doorbell()
    bell.ring("broadcast", "job")
    bell.ring("postgres_changes", "job")
    assert bell.clear()["job"].source == "broadcast"


async def test_a_source_that_names_no_job_is_remembered_under_its_own_name() -> None:
    bell = Doorbell()
    bell.ring("ready")
    hint = bell.clear()["(ready)"]
    assert (hint.source, hint.job_id) == ("ready", None)


async def test_beyond_the_bound_only_hints_are_lost() -> None:
    bell = Doorbell(bound=3)
    for number in range(10):
        bell.ring("postgres_changes", f"job-{number}")
    assert (bell.depth, bell.dropped) == (3, 7)
    await asyncio.wait_for(bell.wait(), 5)
    assert list(bell.clear()) == ["job-0", "job-1", "job-2"]
    assert (bell.depth, bell.dropped) == (0, 7)


@given(JOBS, st.integers(1, 4))
def test_depth_never_passes_the_bound_and_nothing_is_lost_uncounted(jobs: list[str | None], bound: int) -> None:
    bell = Doorbell(bound=bound)
    for job in jobs:
        bell.ring("broadcast", job)
    kept = bell.clear()
    missed = [job for job in jobs if (job or "(broadcast)") not in kept]
    assert len(kept) == min(bound, len(set(jobs)))
    assert len(missed) == bell.dropped


@given(JOBS)
def test_hints_come_in_the_order_of_their_rings(jobs: list[str | None]) -> None:
    bell = Doorbell()
    for job in jobs:
        bell.ring("postgres_changes", job)
    rings = list(bell.clear().values())
    assert [ring.job_id for ring in rings] == list(dict.fromkeys(jobs))
    assert all(earlier.at <= later.at for earlier, later in pairwise(rings))
