"""What becomes of an attempt that ended with an error: one pure function decides (design rules 8 and 9).

Called by the runner. The delays are the user's: `RETRY_DELAY_BASE` seconds, doubled per retry, jittered.
"""

from __future__ import annotations

from dataclasses import dataclass

from consumer.errors import (
    ErrorCode,
    InputInvalid,
    JobCancelled,
    JobError,
    LeaseLost,
    ModelNotFound,
    ModelOverloaded,
    ModelTimeout,
    ModelUnavailable,
    PromptTooLong,
    RequestRefused,
)
from consumer.job import Cancelled, Failed, Job, JsonObject, Outcome, Released, Retry
from consumer.retry import retry_delay

# Another try would fail in the same way: the job itself is wrong, or our request is.
NEVER_RETRIED = (InputInvalid, PromptTooLong, RequestRefused)
# The model server is not ready: the job waits, and waiting is not an attempt.
WAITS_FOR_THE_MODEL = (ModelUnavailable, ModelNotFound, ModelOverloaded)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`base` seconds before the first retry; `model_wait` seconds before a job that found no model is tried again."""

    base: float = 1.0
    model_wait: float = 5.0


def decide(error: JobError, job: Job, phase: str, policy: RetryPolicy) -> Outcome | None:
    """The outcome of an attempt that ended with `error` in `phase`; None when the job is no longer ours."""
    match error:
        case LeaseLost():
            return None
        case JobCancelled():
            return Cancelled()
        case _ if _waits_for_the_model(error):
            return Released(retry_delay(0, policy.model_wait), str(error))
    details = error_details(error, job, phase)
    if details["retryable"]:
        return Retry(retry_delay(job.retry_count, policy.base), error.code, public_message(error), details)
    return Failed(_final_code(error, job), public_message(error), details)


def _waits_for_the_model(error: JobError) -> bool:
    """Whether the request never came to be worked on: no model, no room for it, or its load took too long."""
    if isinstance(error, ModelTimeout):
        return error.clock == "load"
    return isinstance(error, WAITS_FOR_THE_MODEL) and not getattr(error, "in_work", False)


def error_details(error: JobError, job: Job, phase: str) -> JsonObject:
    """`error_details` of the row, without `code` (which the outcome carries)."""
    retryable = not isinstance(error, NEVER_RETRIED) and job.retry_count < job.max_retries
    details: JsonObject = {"phase": phase, "attempt": job.attempt, "retryable": retryable, **error.details}
    if _final_code(error, job) is ErrorCode.ATTEMPTS_EXHAUSTED:
        details["cause"] = error.code
    return details


def public_message(error: JobError) -> str:
    """One sentence for the person who asked: never a traceback, never a secret (contract §1)."""
    return str(error) if isinstance(error, InputInvalid) else error.public


def _final_code(error: JobError, job: Job) -> ErrorCode:
    """A failure after retries keeps the code that says what is wrong; only a spent plain defect is «exhausted»."""
    spent = job.retry_count >= job.max_retries > 0
    return ErrorCode.ATTEMPTS_EXHAUSTED if spent and error.code is ErrorCode.INTERNAL else error.code
