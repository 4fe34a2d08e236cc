"""The figures of a row: sums of what the model server counted, nothing invented."""

from __future__ import annotations

from typing import Any

from consumer.observability import MAX_REPAIRS_SHOWN, SUMMED, added, summary

HEARD = {"doorbell": "postgres_changes", "event_to_claim_ms": 3.5}


def figures(**changes: Any) -> dict[str, Any]:
    base = {
        "model": "mistral:7b", "model_load_time_ms": 100.0, "queue_time_ms": 1.0, "prompt_time_ms": 50.0,
        "inference_time_ms": 2000.0, "time_to_first_token_ms": 80.0, "total_time_ms": 2151.0, "input_tokens": 300,
        "output_tokens": 40, "tokens_per_second": 20.0,
    }  # fmt: skip
    return {**base, **changes}


def test_before_the_first_step_there_are_no_figures_but_how_it_was_heard() -> None:
    assert summary({}, HEARD, 2) == {**HEARD, "attempts": 2}


def test_the_sum_adds_up_and_each_step_is_kept() -> None:
    analyze, generate = figures(), figures(model="qwen2.5:7b", output_tokens=160, time_to_first_token_ms=9.0)
    whole = summary({"analyze": analyze, "generate": generate}, HEARD, 1)
    assert {key: whole[key] for key in SUMMED} == {key: analyze[key] + generate[key] for key in SUMMED}
    assert whole["tokens_per_second"] == 50.0
    assert whole["time_to_first_token_ms"] == 80.0
    assert whole["model"] == "mistral:7b, qwen2.5:7b"
    assert whole["phases"] == {"analyze": analyze, "generate": generate}
    assert whole["doorbell"] == "postgres_changes"


def test_repairs_are_kept_and_bounded() -> None:
    repairs = [
        {"by": "code", "code": "NO_TRIGGER", "pointer": "/nodes", "message": f"{number}"} for number in range(500)
    ]
    assert summary({}, {}, 1, repairs[:1])["repairs"] == repairs[:1]
    assert len(summary({"analyze": figures()}, {}, 1, repairs)["repairs"]) == MAX_REPAIRS_SHOWN
    assert "repairs" not in summary({"analyze": figures()}, {}, 1)


def test_one_model_for_both_steps_is_named_once() -> None:
    assert summary({"analyze": figures(), "generate": figures()}, {}, 1)["model"] == "mistral:7b"


def test_a_speed_without_inference_time_is_none_and_not_a_division_by_zero() -> None:
    assert summary({"analyze": figures(inference_time_ms=0, output_tokens=0)}, {}, 1)["tokens_per_second"] is None


def test_figures_of_an_older_version_that_lack_a_key_count_as_nothing() -> None:
    stored = {"model": "mistral:7b", "output_tokens": 4}
    whole = summary({"analyze": stored, "generate": figures()}, {}, 1)
    assert (whole["output_tokens"], whole["input_tokens"]) == (44, 300)


def test_a_resumed_step_without_any_figures_does_not_break_the_sum() -> None:
    assert summary({"analyze": {}, "generate": figures()}, {}, 2)["output_tokens"] == 40


def test_an_answer_and_its_repairs_are_one_step() -> None:
    once = added(None, figures())
    twice = added(once, figures(output_tokens=60, time_to_first_token_ms=5.0))
    thrice = added(twice, figures())
    assert "calls" not in once
    assert (twice["calls"], twice["output_tokens"], twice["tokens_per_second"]) == (2, 100, 25.0)
    assert twice["time_to_first_token_ms"] == 80.0
    assert (thrice["calls"], thrice["input_tokens"]) == (3, 900)


def test_a_suspicion_about_a_repairs_prompt_is_kept() -> None:
    marked = added(figures(), figures(prompt_truncation_suspected=True))
    assert marked["prompt_truncation_suspected"] is True
    assert added(marked, figures())["prompt_truncation_suspected"] is True
    assert "prompt_truncation_suspected" not in added(figures(), figures())


def test_adding_changes_neither_of_the_two() -> None:
    first, second = figures(), figures()
    added(first, second)
    assert first == second == figures()
