from __future__ import annotations

from itertools import accumulate, islice, takewhile

from hypothesis import given
from hypothesis import strategies as st

from consumer.retry import full_jitter, retry_delay


@given(st.floats(0.001, 10), st.floats(10, 3600))
def test_each_wait_is_anything_up_to_the_doubled_one_but_never_over_the_cap(base: float, cap: float) -> None:
    for step, delay in enumerate(islice(full_jitter(base, cap), 60)):
        assert 0 <= delay <= min(base * 2**step, cap)


def test_waits_go_on_for_ever_without_overflowing() -> None:
    # The client's own back-off overflows at attempt 1025 (bug B5).
    assert all(delay <= 60 for delay in islice(full_jitter(1.0, 60.0), 5000))


def test_an_hour_of_outage_costs_a_bounded_number_of_connects() -> None:
    connects = sum(1 for _ in takewhile(lambda elapsed: elapsed < 3600, accumulate(full_jitter(1.0, 60.0))))
    assert connects < 250


def test_two_workers_that_lost_the_same_server_do_not_come_back_together() -> None:
    assert list(islice(full_jitter(1.0, 60.0), 10)) != list(islice(full_jitter(1.0, 60.0), 10))


@given(st.integers(0, 8), st.floats(0.01, 5))
def test_a_jobs_retry_waits_its_full_delay_and_at_most_a_quarter_more(retries: int, base: float) -> None:
    full = base * 2**retries
    assert full <= retry_delay(retries, base) <= full * 1.25


def test_a_jobs_retry_never_waits_for_days() -> None:
    assert 3600 <= retry_delay(500) <= 3600 * 1.25
