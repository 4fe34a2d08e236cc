"""How fast a model writes: what is usual, and when it is slow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumer.speed import LEAST_TOKENS, Speed, Speeds

GPU, CPU = 60.0, 6.0


def after(*speeds: float, tokens: int = 100) -> Speed:
    speed = Speed()
    for value in speeds:
        speed.saw(tokens, value)
    return speed


def test_the_usual_speed_follows_slowly_and_the_last_is_kept() -> None:
    speed = after(60, 50)
    assert (speed.usual, speed.last, speed.slow) == (58, 50, False)


def test_a_lost_gpu_is_noticed_at_the_second_slow_call_and_its_return_at_the_first_good_one() -> None:
    speed = after(GPU, GPU)
    assert [speed.saw(100, value) for value in (CPU, CPU, CPU, GPU)] == [False, True, False, True]
    assert not speed.slow


def test_one_slow_call_is_no_alarm() -> None:
    assert not after(GPU, CPU, GPU, CPU).slow


def test_slow_calls_do_not_become_usual() -> None:
    speed = after(GPU, *[CPU] * 50)
    assert (speed.slow, speed.usual) == (True, GPU)


def test_a_slow_model_is_not_good_again_before_two_thirds_of_the_usual() -> None:
    assert after(GPU, CPU, CPU, GPU / 2).slow
    assert not after(GPU, CPU, CPU, GPU * 0.7).slow


def test_short_answers_and_missing_counters_say_nothing() -> None:
    speed = after(GPU, GPU)
    speed.saw(LEAST_TOKENS - 1, 0.1)
    speed.saw(100, None)
    assert (speed.usual, speed.last) == (GPU, GPU)


@given(st.lists(st.floats(30, 60), min_size=1))
def test_ordinary_variation_is_never_slow(speeds: list[float]) -> None:
    assert not after(*speeds).slow


def test_each_model_has_its_own() -> None:
    speeds = Speeds()
    speeds["a"].saw(100, 60)
    speeds["a"].loads += 1
    assert speeds["a"].as_json() == {
        "tokens_per_second": 60.0, "usual_tokens_per_second": 60.0, "slow": False, "loads": 1,
    }  # fmt: skip
    assert speeds["b"].as_json() == {
        "tokens_per_second": None, "usual_tokens_per_second": None, "slow": False, "loads": 0,
    }  # fmt: skip
