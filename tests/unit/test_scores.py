"""Shares with Wilson's interval, what is added up, and what counts as a regression."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.scores import Figures, Report, Score, Share, Z, differences, regressions, wilson
from tests.conftest import ROOT

COUNTS = st.integers(1, 2000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of)))


# The closed form of the interval, computed apart with a calculator.
@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (8, 10, 0.4902, 0.9433),
        (10, 10, 0.7225, 1.0),
        (95, 100, 0.8882, 0.9785),
        (1, 2, 0.0945, 0.9055),
        (0, 0, 0.0, 1.0),
    ],
)
def test_known_intervals(hits: int, of: int, low: float, high: float) -> None:
    assert wilson(hits, of) == pytest.approx((low, high), abs=5e-5)


@given(COUNTS)
def test_each_bound_is_the_share_whose_spread_just_reaches_what_was_seen(counts: tuple[int, int]) -> None:
    hits, of = counts
    for bound in wilson(hits, of):
        assert abs(hits / of - bound) == pytest.approx(Z * math.sqrt(bound * (1 - bound) / of), abs=1e-7)


@given(COUNTS)
def test_the_share_lies_within_its_interval(counts: tuple[int, int]) -> None:
    low, high = wilson(*counts)
    assert 0 <= low <= counts[0] / counts[1] <= high <= 1


def score(name: str = "a", **more: object) -> Score:
    return Score.model_validate({"id": name, "outcome": "completed", **more})


def report(*scores: Score) -> Report:
    return Report(models={"generate": "m"}, prompts_hash="h", systems={"pipeline": Figures.of(scores)})


def test_a_completed_workflow_that_breaks_a_rule_is_not_valid() -> None:
    shares = report(score(), score(violations=("CYCLE",)), score(outcome="failed", code="X")).systems["pipeline"].shares
    assert shares["completed_and_valid"] == Share(hits=1, of=3)
    assert shares["invalid_completed"] == Share(hits=1, of=3)


def test_only_labelled_prompts_count_for_trigger_and_nodes() -> None:
    shares = report(
        score(trigger_right=True, nodes_found=1, nodes_wanted=2), score(trigger_right=False), score()
    ).systems["pipeline"].shares  # fmt: skip
    assert shares["trigger_right"] == Share(hits=1, of=2)
    assert shares["nodes_found"] == Share(hits=1, of=2)


def test_types_on_offer_count_only_for_a_system_that_chooses_them() -> None:
    scores = score(nodes_offered=1, nodes_wanted=2), score(nodes_offered=0), score(nodes_wanted=5)
    assert report(*scores).systems["pipeline"].shares["nodes_offered"] == Share(hits=1, of=2)


def test_figures_kept_before_there_was_a_share_can_still_be_compared() -> None:
    now, saved = report(score(nodes_offered=0, nodes_wanted=9)), ten(valid=10)
    older = {name: share for name, share in saved.systems["pipeline"].shares.items() if name != "nodes_offered"}
    figures = saved.systems["pipeline"].model_copy(update={"shares": older})
    assert regressions(now, saved.model_copy(update={"systems": {"pipeline": figures}})) == []


def test_codes_are_counted_most_frequent_first() -> None:
    figures = Figures.of([score(repairs=("B", "A", "B")), score(outcome="failed", code="OUTPUT_NOT_JSON")])
    assert list(figures.repairs.items()) == [("B", 2), ("A", 1)]
    assert figures.outcomes == {"OUTPUT_NOT_JSON": 1, "completed": 1}


def test_figures_come_back_from_a_file_as_they_were() -> None:
    now = report(score(violations=("CYCLE",), seconds=1.5, input_tokens=7), score("b", trigger_right=True))
    assert Report.model_validate_json(now.model_dump_json()) == now


def ten(valid: int) -> Report:
    return report(*(score(**({} if n < valid else {"outcome": "failed", "code": "X"})) for n in range(10)))


@pytest.mark.parametrize(("valid", "worse"), [(10, False), (9, False), (8, True), (0, True)])
def test_only_an_interval_wholly_below_the_saved_share_is_a_regression(valid: int, worse: bool) -> None:
    saved = report(*[score()] * 95, *[score(outcome="failed", code="X")] * 5)
    assert bool(regressions(ten(valid), saved)) is worse


def test_the_regression_names_the_share_and_both_figures() -> None:
    (line,) = regressions(ten(2), report(*[score()] * 10))
    assert line.startswith("completed_and_valid: 2/10") and line.endswith("1.000")


def test_an_invalid_completed_is_a_regression_whatever_the_baseline_says() -> None:
    bad = report(*[score()] * 99, score(violations=("CYCLE",)))
    assert regressions(bad, bad) == ["invalid_completed: 1, must be 0"]


def test_a_share_that_only_one_side_has_is_no_regression() -> None:
    labelled, bare = report(score(trigger_right=True)), report(score())
    assert regressions(labelled, bare) == regressions(bare, labelled) == []


def test_other_models_and_other_prompts_are_told() -> None:
    now = report(score())
    other = Report(models={"generate": "n"}, prompts_hash="i", systems=now.systems)
    assert differences(now, now) == []
    assert differences(now, other) == [
        "the baseline is of other models: n",
        "the baseline is of another file of prompts",
    ]


def test_the_shipped_baseline_can_be_compared_with() -> None:
    saved = Report.model_validate_json((ROOT / "benchmarks" / "eval-baseline-135m.json").read_text())
    assert saved.systems["pipeline"].shares["completed_and_valid"].of >= 60
    assert regressions(saved, saved) == []
