"""From an error to an outcome: one pure function, every class decided."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from consumer import errors
from consumer.errors import ErrorCode, JobError, Violation
from consumer.job import Cancelled, Failed, Job, Released, Retry
from consumer.outcome import RetryPolicy, decide

POLICY = RetryPolicy(base=1.0, model_wait=5.0)
SAMPLES: dict[type[JobError], JobError] = {
    errors.InputInvalid: errors.InputInvalid("prompt", "is empty"),
    errors.ModelTimeout: errors.ModelTimeout("first_token", 120),
    errors.WorkflowInvalid: errors.WorkflowInvalid(
        [Violation("NO_NODES", "/nodes", "There are no nodes.", "Add a step.")]
    ),
}


# What each class of error comes to: at the first try, and with all retries spent.
DECISIONS: dict[type[JobError], tuple[type | None, type | None]] = {
    errors.InputInvalid: (Failed, Failed),
    errors.PromptTooLong: (Failed, Failed),
    errors.ModelUnavailable: (Released, Released),
    errors.ModelNotFound: (Released, Released),
    errors.ModelOverloaded: (Released, Released),
    errors.ModelOutOfMemory: (Retry, Failed),
    errors.ModelTimeout: (Retry, Failed),
    errors.ModelStalledLoop: (Retry, Failed),
    errors.OutputTruncated: (Retry, Failed),
    errors.OutputNotJson: (Retry, Failed),
    errors.WorkflowInvalid: (Retry, Failed),
    errors.JobCancelled: (Cancelled, Cancelled),
    errors.LeaseLost: (None, None),
    errors.AttemptsExhausted: (Retry, Failed),
    errors.InternalError: (Retry, Failed),
}


def sample(kind: type[JobError]) -> JobError:
    return SAMPLES.get(kind) or kind("because")


def job(**fields: Any) -> Job:
    row = {"id": "j1", "attempt": 3, "prompt": "p", "created_at": datetime.now(UTC), "max_retries": 3, **fields}
    return Job.model_validate(row)


def every_job_error() -> list[type[JobError]]:
    return sorted(JobError.__subclasses__(), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", every_job_error())
def test_each_class_of_error_comes_to_what_the_table_says(kind: type[JobError]) -> None:
    outcomes = [decide(sample(kind), job(retry_count=count), "analyze", POLICY) for count in (0, 3)]
    assert tuple(None if outcome is None else type(outcome) for outcome in outcomes) == DECISIONS[kind]
    assert kind.code in ErrorCode


def test_every_contract_code_belongs_to_one_class() -> None:
    assert sorted(kind.code for kind in every_job_error()) == sorted(ErrorCode)


@pytest.mark.parametrize(
    "error",
    [
        errors.ModelUnavailable("away"),
        errors.ModelNotFound("gone"),
        errors.ModelOverloaded("busy"),
        errors.ModelTimeout("load", 300),
    ],
    ids=lambda error: type(error).__name__,
)
def test_waiting_for_the_model_server_burns_no_attempt(error: JobError) -> None:
    outcome = decide(error, job(retry_count=3), "analyze", POLICY)
    assert isinstance(outcome, Released)
    assert outcome.delay >= 5


def test_a_request_that_breaks_the_loaded_model_each_time_ends_as_failed() -> None:
    error = errors.ModelUnavailable("model runner has unexpectedly stopped")
    error.in_work = True
    assert isinstance(decide(error, job(), "analyze", POLICY), Retry)
    assert isinstance(decide(error, job(retry_count=3), "analyze", POLICY), Failed)


@pytest.mark.parametrize("kind", [errors.InputInvalid, errors.PromptTooLong])
def test_bad_input_is_never_retried(kind: type[JobError]) -> None:
    outcome = decide(sample(kind), job(), "analyze", POLICY)
    assert isinstance(outcome, Failed)
    assert outcome.details["retryable"] is False


@pytest.mark.parametrize(("retries", "least"), [(0, 1.0), (1, 2.0), (2, 4.0)])
def test_retries_wait_one_two_four_seconds_and_a_little(retries: int, least: float) -> None:
    outcome = decide(errors.OutputNotJson("no"), job(retry_count=retries), "workflow_generation", POLICY)
    assert isinstance(outcome, Retry)
    assert least <= outcome.delay <= least * 1.25


def test_spent_retries_fail_with_the_code_that_says_what_is_wrong() -> None:
    outcome = decide(SAMPLES[errors.WorkflowInvalid], job(retry_count=3), "validation", POLICY)
    assert isinstance(outcome, Failed)
    assert outcome.code == ErrorCode.WORKFLOW_INVALID
    assert outcome.details["violations"] == [
        {
            "code": "NO_NODES",
            "pointer": "/nodes",
            "message": "There are no nodes.",
            "fix": "Add a step.",
            "severity": "error",
        }
    ]


def test_a_spent_defect_is_called_exhausted_and_keeps_its_cause() -> None:
    outcome = decide(errors.InternalError("boom"), job(retry_count=3), "analyze", POLICY)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.details["cause"]) == (ErrorCode.ATTEMPTS_EXHAUSTED, ErrorCode.INTERNAL)


def test_no_retries_at_all_is_respected() -> None:
    outcome = decide(errors.OutputNotJson("no"), job(max_retries=0), "analyze", POLICY)
    assert isinstance(outcome, Failed)


def test_a_lost_lease_settles_nothing() -> None:
    assert decide(errors.LeaseLost("gone"), job(), "analyze", POLICY) is None


def test_the_person_is_not_shown_internals() -> None:
    outcome = decide(errors.InternalError("KeyError at /srv/consumer/x.py"), job(), "analyze", POLICY)
    assert isinstance(outcome, Retry)
    assert "KeyError" not in outcome.message
