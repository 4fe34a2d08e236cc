"""Scores of an evaluation: what each prompt came to, shares with their intervals, and what got worse. Pure.

Made by `consumer.evaluation`, printed and kept by `consumer eval`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

# The two-sided 95 % quantile of the normal distribution.
Z = 1.959964
System = Literal["pipeline", "old"]
# Shares of which more is better; `invalid_completed` must be nought.
GROWING = ("completed_and_valid", "trigger_right", "nodes_offered", "nodes_found")


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927); all of [0, 1] when nothing was counted."""
    if of == 0:
        return 0.0, 1.0
    share, spread = hits / of, Z * Z / of
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    # At the ends the bound is the share itself; rounding must not move it past.
    return (0.0 if hits == 0 else middle - half), (1.0 if hits == of else middle + half)


class _Value(BaseModel):
    """A value as it is kept in a file; what a newer version adds is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Share(_Value):
    """`hits` of so many, with the share and its 95 % interval."""

    hits: int
    of: int

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def share(self) -> float:
        """0 when nothing was counted."""
        return round(self.hits / self.of, 4) if self.of else 0.0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def low(self) -> float:
        """Lower bound."""
        return round(wilson(self.hits, self.of)[0], 4)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def high(self) -> float:
        """Upper bound."""
        return round(wilson(self.hits, self.of)[1], 4)

    def __str__(self) -> str:
        if not self.of:
            return "nothing to count"
        return f"{self.hits}/{self.of}  {self.share:.3f}  [{self.low:.3f}, {self.high:.3f}]"


class Score(_Value):
    """What one prompt came to. `violations` and `repairs` are codes; `code` says why it failed.

    `attempts` begun, `model_repairs` asked for, tokens of all answers that came to their end, `seconds` of wall clock.
    `triggers` start the workflow. `trigger_right` is None, and `nodes_wanted` 0, where the prompt has no such label.
    `nodes_offered` of them are among the types chosen for the prompt; None for a system that chooses none.
    """

    id: str
    outcome: Literal["completed", "failed"]
    code: str | None = None
    violations: tuple[str, ...] = ()
    repairs: tuple[str, ...] = ()
    model_repairs: int = 0
    attempts: int = 1
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    triggers: tuple[str, ...] = ()
    trigger_right: bool | None = None
    nodes_found: int = 0
    nodes_wanted: int = 0
    nodes_missing: tuple[str, ...] = ()
    nodes_offered: int | None = None
    nodes_not_offered: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """Completed, and the validator finds nothing."""
        return self.outcome == "completed" and not self.violations

    @property
    def as_labelled(self) -> bool:
        """Whether all that a reader expects is there."""
        return self.trigger_right is not False and not self.nodes_missing


class Figures(_Value):
    """All prompts of one system together. `outcomes`: completed, or failed by code; counts by code otherwise."""

    shares: Mapping[str, Share]
    outcomes: Mapping[str, int]
    violations: Mapping[str, int]
    repairs: Mapping[str, int]
    model_repairs: int
    attempts: int
    input_tokens: int
    output_tokens: int
    seconds: float
    median_seconds: float
    prompts: tuple[Score, ...]

    @classmethod
    def of(cls, scores: Sequence[Score]) -> Figures:
        """Add up."""
        return cls(
            shares=_shares(scores),
            outcomes=_counted(score.code or score.outcome for score in scores),
            violations=_counted(code for score in scores for code in score.violations),
            repairs=_counted(code for score in scores for code in score.repairs),
            model_repairs=sum(score.model_repairs for score in scores),
            attempts=sum(score.attempts for score in scores),
            input_tokens=sum(score.input_tokens for score in scores),
            output_tokens=sum(score.output_tokens for score in scores),
            seconds=round(sum(score.seconds for score in scores), 3),
            median_seconds=round(median(score.seconds for score in scores), 3) if scores else 0.0,
            prompts=tuple(scores),
        )


class Report(_Value):
    """One evaluation: with which models, of which prompts (`prompts_hash`: SHA-256 of their file), and the figures."""

    models: Mapping[str, str]
    prompts_hash: str
    systems: Mapping[System, Figures]


def regressions(now: Report, saved: Report) -> list[str]:
    """What has surely got worse than the saved figures, one sentence each; an invalid completed always counts."""
    found, before = now.systems["pipeline"].shares, saved.systems["pipeline"].shares
    worse = [
        f"{name}: {found[name]} lies below the saved {before[name].share:.3f}"
        for name in GROWING
        if name in before and before[name].of and found[name].of and found[name].high < before[name].share
    ]
    invalid = found["invalid_completed"].hits
    return [*worse, *([f"invalid_completed: {invalid}, must be 0"] if invalid else [])]


def differences(now: Report, saved: Report) -> list[str]:
    """Why the two can be compared only in part."""
    notes = []
    if dict(now.models) != dict(saved.models):
        notes.append(f"the baseline is of other models: {', '.join(dict.fromkeys(saved.models.values()))}")
    if now.prompts_hash != saved.prompts_hash:
        notes.append("the baseline is of another file of prompts")
    return notes


def _shares(scores: Sequence[Score]) -> dict[str, Share]:
    triggers = [score.trigger_right for score in scores if score.trigger_right is not None]
    completed = [score for score in scores if score.outcome == "completed"]
    chosen = [(score.nodes_offered, score.nodes_wanted) for score in scores if score.nodes_offered is not None]
    return {
        "completed_and_valid": Share(hits=sum(score.valid for score in scores), of=len(scores)),
        "invalid_completed": Share(hits=sum(not score.valid for score in completed), of=len(scores)),
        "trigger_right": Share(hits=sum(triggers), of=len(triggers)),
        "nodes_offered": Share(hits=sum(hits for hits, _ in chosen), of=sum(wanted for _, wanted in chosen)),
        "nodes_found": Share(
            hits=sum(score.nodes_found for score in scores), of=sum(score.nodes_wanted for score in scores)
        ),
    }


def _counted(codes: Iterable[str]) -> dict[str, int]:
    """The most frequent first, then by name."""
    return dict(sorted(Counter(codes).items(), key=lambda entry: (-entry[1], entry[0])))
