"""The figures that are kept as they arise: what the engine tells about attempts, as Prometheus counters and histograms.

Made and read by `consumer.prometheus`. Labels are bounded: the models of the settings, steps, phases, outcomes, known
codes (all else is `other`) and clocks; never ids. Times in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from consumer.errors import ErrorCode
from consumer.job import Job
from consumer.metrics import (
    Answered,
    Begun,
    CallFailed,
    Ended,
    Entered,
    Event,
    Observer,
    Repaired,
    Settled,
    Settling,
    Violated,
)
from schemas.validator import CODES

PREFIX = "workflow_consumer"
# The first bound parts warm preloads from loads (traces/ollama.md, "Numbers"); the last is OLLAMA_TIMEOUT's default.
BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
# From a doorbell's milliseconds to a queue of an hour; the last but two is JOB_TIMEOUT's default.
PICKUP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
ATTEMPT_BUCKETS = (*BUCKETS, 1800.0, 3600.0)
CALL = ("model", "step")
ERRORS = frozenset(map(str, ErrorCode))
OTHER = "other"
# Figure of a call → histogram and what it measures (consumer/ollama_reply.py).
TIMES = {
    "model_load_time_ms": ("model_load", "Load before a call; up to 0.1 it was loaded already"),
    "queue_time_ms": ("model_queue", "Wait of a call for its turn, in this worker and at the server"),
    "prompt_time_ms": ("model_prompt", "Reading of the prompt"),
    "inference_time_ms": ("model_inference", "Writing of the answer"),
    "time_to_first_token_ms": ("model_first_token", "From the request to the first token, without the load"),
}
TOKENS = {"input_tokens": "Tokens of the prompts", "output_tokens": "Tokens of the answers"}


@dataclass(slots=True)
class _Attempt:
    """What is under way: since when (`monotonic()`), in which phase since when, and whether the fence refused it."""

    began: float
    phase: str | None = None
    since: float = 0.0
    refused: bool = False


class Counters(Observer):
    """Keeps figures from its making on, in `registry`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._attempts: dict[tuple[str, int], _Attempt] = {}
        self._times = {key: self._histogram(name, about, CALL) for key, (name, about) in TIMES.items()}
        self._tokens = {key: self._counter(key, about, CALL) for key, about in TOKENS.items()}
        self._failures = self._counter("model_call_failures", "Model calls that failed", (*CALL, "code", "clock"))
        self._settled = self._counter("jobs_settled", "Attempts by the outcome written", ("outcome", "code"))
        self._pickup = self._histogram(
            "pickup", "From the moment that a job could be claimed to its claim, by the database's clock", (),
            PICKUP_BUCKETS,
        )  # fmt: skip
        self._phases = self._histogram("phase", "A phase, with its waits; resumed ones take none", ("phase",))
        self._lengths = self._histogram(
            "attempt", "From the claim to the outcome written", ("outcome",), ATTEMPT_BUCKETS
        )
        self._rescues = self._counter("rescues", "Claims of jobs whose attempt before did not outlive its lease", ())
        self._losses = self._counter("lease_losses", "Attempts that another attempt took the job from", ())
        self._violations = self._counter("violations", "Broken rules that code could not mend", ("code",))
        self._repairs = self._counter("repairs", "Violations that code mended, or a model was given", ("by", "code"))
        self._keep: dict[type[Any], Callable[[Job, Any], None]] = {
            Begun: self._begun,
            Entered: self._entered,
            Answered: self._answered,
            CallFailed: self._call_failed,
            Violated: self._violated,
            Repaired: self._repaired,
            Settling: self._settling,
            Settled: self._written,
            Ended: self._ended,
        }

    def see(self, job: Job, event: Event) -> None:
        """Keep what the event adds to the figures."""
        if keep := self._keep.get(type(event)):
            keep(job, event)

    def _begun(self, job: Job, event: Begun) -> None:
        self._attempts[job.id, job.attempt] = _Attempt(monotonic())
        self._rescues.inc(job.rescued)
        if (waited := job.pickup_seconds) is not None:
            self._pickup.observe(waited)

    def _entered(self, job: Job, event: Entered) -> None:
        attempt = self._leave_phase(job)
        attempt.phase, attempt.since = event.phase.value, monotonic()

    def _answered(self, job: Job, event: Answered) -> None:
        for key, histogram in self._times.items():
            histogram.labels(event.model, event.step).observe(event.figures[key] / 1000)
        for key, counter in self._tokens.items():
            counter.labels(event.model, event.step).inc(event.figures[key])

    def _call_failed(self, job: Job, event: CallFailed) -> None:
        clock = str(event.error.details.get("clock", ""))
        self._failures.labels(event.model, event.step, str(event.error.code), clock).inc()

    def _violated(self, job: Job, event: Violated) -> None:
        for code in event.codes:
            self._violations.labels(_among(CODES, code)).inc()

    def _repaired(self, job: Job, event: Repaired) -> None:
        for code in event.codes:
            self._repairs.labels(event.by, _among(CODES, code)).inc()

    def _settling(self, job: Job, event: Settling) -> None:
        self._leave_phase(job)

    def _written(self, job: Job, event: Settled) -> None:
        self._settled.labels(event.outcome, event.code and _among(ERRORS, event.code)).inc()
        if attempt := self._attempts.get((job.id, job.attempt)):  # a row that cannot be read has none
            attempt.refused = event.outcome == "refused"
            self._lengths.labels(event.outcome).observe(monotonic() - attempt.began)

    def _ended(self, job: Job, event: Ended) -> None:
        refused = self._leave_phase(job).refused
        self._losses.inc(event.lost or refused)
        del self._attempts[job.id, job.attempt]

    def _leave_phase(self, job: Job) -> _Attempt:
        attempt = self._attempts[job.id, job.attempt]
        if attempt.phase is not None:
            self._phases.labels(attempt.phase).observe(monotonic() - attempt.since)
            attempt.phase = None
        return attempt

    def _histogram(
        self, name: str, about: str, labels: Iterable[str], buckets: tuple[float, ...] = BUCKETS
    ) -> Histogram:
        return Histogram(f"{PREFIX}_{name}_seconds", about, labels, buckets=buckets, registry=self.registry)

    def _counter(self, name: str, about: str, labels: Iterable[str]) -> Counter:
        return Counter(f"{PREFIX}_{name}", about, labels, registry=self.registry)


def _among(known: frozenset[str], code: str) -> str:
    """A bounded label: texts of rows or models never become one."""
    return code if code in known else OTHER
