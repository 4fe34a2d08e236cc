"""The figures that arise: what is counted under which labels, whatever rows and models say."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

import handlers
import schemas
from consumer.counters import Counters
from consumer.errors import ModelTimeout
from consumer.job import Job, Phase
from consumer.metrics import Begun, CallFailed, Ended, Entered, Event, Observer, Observers, Repaired, Settled, Violated
from schemas.validator import CODES

MODEL = "mistral:7b"
NOW = datetime(2031, 5, 4, 3, 2, 1, tzinfo=UTC)


def job(**columns: Any) -> Job:
    return Job.model_validate({"id": "job-1", "attempt": 2, "prompt": "p", "created_at": NOW, **columns})


def told(*events: Event, about: Job | None = None) -> Counters:
    counters = Counters()
    for event in events:
        counters.see(about or job(), event)
    return counters


def value(counters: Counters, name: str, **labels: str) -> float | None:
    return counters.registry.get_sample_value(f"workflow_consumer_{name}", labels)


def test_a_failed_call_is_counted_by_the_clock_that_ran_out() -> None:
    counters = told(CallFailed(MODEL, "analyze", ModelTimeout("load", 300)))
    labels = {"model": MODEL, "step": "analyze", "code": "MODEL_TIMEOUT", "clock": "load"}
    assert value(counters, "model_call_failures_total", **labels) == 1


def test_a_code_that_nobody_knows_is_counted_as_other() -> None:
    made_up = ("NO_NODES", *(f"MADE_UP_{number}" for number in range(50)))
    counters = told(Violated(made_up), Repaired("code", made_up), Settled("failed", "MADE_UP"))
    for name, labels in (("violations_total", {}), ("repairs_total", {"by": "code"})):
        assert value(counters, name, code="NO_NODES", **labels) == 1
        assert value(counters, name, code="other", **labels) == 50
    assert value(counters, "jobs_settled_total", outcome="failed", code="other") == 1


def test_a_pickup_is_measured_from_when_the_job_could_be_claimed_and_never_negative() -> None:
    late, early = (job(run_at=NOW, updated_at=NOW + timedelta(seconds=each)) for each in (2, -2))
    assert value(told(Begun({}), about=late), "pickup_seconds_sum") == 2
    assert value(told(Begun({}), about=early), "pickup_seconds_sum") == 0
    for unknown in (job(), job(run_at="infinity", updated_at=NOW)):
        assert value(told(Begun({}), about=unknown), "pickup_seconds_count") == 0


@pytest.mark.parametrize(
    ("history", "rescues"),
    [
        ([{"code": "LEASE_LOST", "attempt": 1}], 1),
        ([{"code": "LEASE_LOST", "attempt": 0}], 0),
        ([{"code": "LEASE_LOST", "attempt": 0}, {"code": "MODEL_TIMEOUT", "attempt": 1}], 0),
        ([], 0),
    ],
    ids=["the attempt before", "an older attempt", "another end", "no history"],
)
def test_a_claim_is_a_rescue_when_the_attempt_before_lost_its_lease(history: list[Any], rescues: int) -> None:
    assert value(told(Begun({}), about=job(error_details={"history": history})), "rescues_total") == rescues
    assert value(told(Begun({})), "rescues_total") == 0


@pytest.mark.parametrize(
    ("ending", "losses"),
    [
        ((Ended(lost=True),), 1),
        ((Settled("refused", ""), Ended()), 1),
        ((Settled("refused", ""), Ended(lost=True)), 1),
        ((Settled("completed", ""), Ended()), 0),
    ],
    ids=["while it worked", "at its settle", "both", "never"],
)
def test_a_lost_lease_is_counted_once_wherever_it_shows(ending: tuple[Event, ...], losses: int) -> None:
    counters = told(Begun({}), Entered(Phase.ANALYZE), *ending)
    assert value(counters, "lease_losses_total") == losses
    assert value(counters, "phase_seconds_count", phase="analyze") == 1


def test_nothing_is_kept_of_an_attempt_that_has_ended() -> None:
    assert told(Begun({}), Entered(Phase.ANALYZE), Ended())._attempts == {}


class Broken(Observer):
    """Can do nothing."""

    def see(self, job: Job, event: Event) -> None:
        raise RuntimeError("a defect")

    def words(self, job: Job) -> Mapping[str, str]:
        raise RuntimeError("a defect")


class Talking(Observer):
    """Has a word."""

    def words(self, job: Job) -> Mapping[str, str]:
        return {"word": "heard"}


def test_a_defect_of_one_observer_is_logged_and_the_others_are_asked_for_their_words() -> None:
    said: list[str] = []
    sink = logger.add(lambda line: said.append(line.record["message"]))
    assert Observers(Broken(), Talking()).words(job()) == {"word": "heard"}
    logger.remove(sink)
    assert said == ["a defect of Broken over the words of its log lines"]


def test_a_defect_of_one_observer_is_logged_and_the_others_are_told() -> None:
    said: list[str] = []
    sink = logger.add(lambda line: said.append(line.record["message"]))
    counters = Counters()
    Observers(Broken(), counters).see(job(), Begun({}))
    logger.remove(sink)
    assert said == ["a defect of Broken over Begun"]
    assert value(counters, "pickup_seconds_count") == 0
    assert len(counters._attempts) == 1


def test_every_code_that_rules_and_repairs_name_is_known() -> None:
    named = set(codes_in(Path(schemas.__file__).parent)) | set(codes_in(Path(handlers.__file__).parent))
    assert named - CODES == set()
    assert CODES - named == set()


def codes_in(folder: Path) -> Iterator[str]:
    """The texts in capitals of the modules that judge and mend; advice is no rule."""
    for path in folder.glob("*.py"):
        if path.name in ("rules_advice.py", "validator.py", "catalog.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and len(text) > 4 and text.isupper() and text.replace("_", "").isalpha():
                yield text
