"""The one line that says all about an attempt, once its outcome is written. Called by the runner.

Figures, names and codes only: no prompt, no config, no text of a model.
"""

from __future__ import annotations

from collections.abc import Mapping

from loguru import logger

from consumer.job import Failed, Job, JsonObject, Outcome, Released, Retry

# Of the row's `observability` (consumer/observability.py).
FIGURES = (
    "model", "model_load_time_ms", "time_to_first_token_ms", "total_time_ms", "input_tokens", "output_tokens",
    "tokens_per_second", "doorbell", "event_to_claim_ms",
)  # fmt: skip


def say(job: Job, outcome: Outcome, name: str, *, seconds: float, observability: JsonObject) -> None:
    """Write it: `name` is the outcome as the database has it, `seconds` the attempt took.

    Job, attempt and worker are bound already.
    """
    logger.bind(**_fields(job, outcome, seconds, observability), outcome=name).info("job {}", name)


def _fields(job: Job, outcome: Outcome, seconds: float, observability: JsonObject) -> JsonObject:
    fields: JsonObject = {"mode": job.mode, "retry": job.retry_count, "max_retries": job.max_retries}
    if isinstance(outcome, Retry | Failed):
        fields["code"] = str(outcome.code)
    if isinstance(outcome, Retry | Released):
        fields["again_in_s"] = round(outcome.delay, 3)
    if isinstance(outcome, Retry | Failed) and (found := _violations(outcome.details)):
        fields["violations"] = found
    phases = {name: figures.get("total_time_ms") for name, figures in observability.get("phases", {}).items()}
    known = {key: observability[key] for key in FIGURES if observability.get(key) is not None}
    repairs = len(observability.get("repairs", ()))
    return {**fields, "attempt_ms": round(seconds * 1000, 3), "phases_ms": phases, **known, "repairs": repairs}


def _violations(details: Mapping[str, object]) -> list[str]:
    """The codes of the broken rules, each once."""
    found = details.get("violations")
    return sorted({str(each["code"]) for each in found}) if isinstance(found, list) else []
