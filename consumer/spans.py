"""The spans of one attempt: what the engine tells about it, as OpenTelemetry wants it. Made by `consumer.traces`.

    attempt ── claim · analyze ── chat MODEL · workflow_generation ── chat MODEL · validation · settle

A claim lasts from its doorbell to its answer; a call, from its turn on. Attributes hold names, codes and figures only:
`gen_ai.*` as the semantic conventions name them, and what they have no name for under `workflow_consumer.`, in seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context

from consumer.errors import OutputTruncated
from consumer.job import Job
from consumer.metrics import (
    Answered,
    Asked,
    Begun,
    CallFailed,
    Ended,
    Entered,
    Event,
    Renewed,
    Repaired,
    Settled,
    Settling,
    Violated,
)

OURS = "workflow_consumer"
NANOSECONDS = 1_000_000
# Outcomes that are no error of the attempt.
FINE = ("completed", "released", "cancelled")


class AttemptSpans:
    """Opens the attempt's span under `parent`; `see` does the rest, and its `Ended` leaves nothing open."""

    def __init__(self, tracer: Tracer, parent: Context, job: Job, begun: Begun, model_server: str) -> None:
        self._tracer = tracer
        self._model_server = urlsplit(model_server)
        now = time.time_ns()
        heard = now - int((begun.claimed.get("event_to_claim_ms") or 0) * NANOSECONDS)
        about: dict[str, str | int] = {
            "job.id": job.id,
            "attempt": job.attempt,
            "mode": job.mode,
            "retry_count": job.retry_count,
        }
        self.span = tracer.start_span(
            "attempt", parent, SpanKind.CONSUMER, {f"{OURS}.{key}": value for key, value in about.items()},
            start_time=heard,
        )  # fmt: skip
        self._under_attempt = set_span_in_context(self.span)
        self._claim(job, begun.claimed, heard, now)
        # Those of "phase", "call" and "settle" that are open.
        self._open: dict[str, Span] = {}
        self._on: dict[type[Any], Callable[[Any], None]] = {
            Entered: self._entered,
            Asked: self._asked,
            Answered: self._answered,
            CallFailed: self._call_failed,
            Violated: lambda event: self._inner.add_event("violations", {f"{OURS}.codes": event.codes}),
            Repaired: lambda event: self._inner.add_event(f"repaired by {event.by}", {f"{OURS}.codes": event.codes}),
            Renewed: lambda _: self.span.add_event("renewed"),
            Settling: self._settling,
            Settled: self._settled,
            Ended: self._ended,
        }

    def see(self, event: Event) -> None:
        """Begin, enrich or end spans."""
        if act := self._on.get(type(event)):
            act(event)

    @property
    def _inner(self) -> Span:
        """What goes on now."""
        return self._open.get("phase", self.span)

    def _claim(self, job: Job, claimed: Mapping[str, Any], heard: int, now: int) -> None:
        known = {
            "doorbell": claimed.get("doorbell"),
            "event_to_request_seconds": _seconds(claimed.get("event_to_request_ms")),
            "pickup_seconds": job.pickup_seconds,
            "rescued": job.rescued,
        }
        attributes = {f"{OURS}.{key}": value for key, value in known.items() if value is not None}
        self._child("claim", attributes, start=heard).end(now)

    def _entered(self, event: Entered) -> None:
        self._end("phase")
        self._open["phase"] = self._child(event.phase.value, {})

    def _asked(self, event: Asked) -> None:
        attributes: dict[str, str | int | float] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "ollama",
            "gen_ai.request.model": event.model,
            "gen_ai.request.max_tokens": event.max_tokens,
            "gen_ai.request.temperature": event.temperature,
            "gen_ai.request.seed": event.seed,
            "gen_ai.request.stream": True,
            "gen_ai.output.type": "json",
            "server.address": self._model_server.hostname or "",
            "server.port": self._model_server.port or (443 if self._model_server.scheme == "https" else 80),
            f"{OURS}.step": event.step,
        }
        under = set_span_in_context(self._inner)
        self._open["call"] = self._tracer.start_span(f"chat {event.model}", under, SpanKind.CLIENT, attributes)

    def _answered(self, event: Answered) -> None:
        call, figures = self._open["call"], event.figures
        times = {name: figures[f"{name}_time_ms"] / 1000 for name in ("model_load", "queue", "prompt", "inference")}
        call.set_attributes(
            {
                "gen_ai.response.model": event.model,
                "gen_ai.usage.input_tokens": figures["input_tokens"],
                "gen_ai.usage.output_tokens": figures["output_tokens"],
                "gen_ai.response.time_to_first_chunk": figures["time_to_first_token_ms"] / 1000,
                **{f"{OURS}.{name}_seconds": seconds for name, seconds in times.items()},
            }
        )
        if event.finish_reason:
            call.set_attribute("gen_ai.response.finish_reasons", (event.finish_reason,))
        self._end("call")

    def _call_failed(self, event: CallFailed) -> None:
        code, clock = str(event.error.code), event.error.details.get("clock")
        why = {"error.type": code, **({f"{OURS}.clock": str(clock)} if clock else {})}
        call = self._open.get("call")
        if call is None:  # the answer had come, but is unusable
            self._inner.add_event("answer is unusable", why)
            return
        call.set_attributes(why)
        if isinstance(event.error, OutputTruncated):
            call.set_attribute("gen_ai.response.finish_reasons", ("length",))
        call.set_status(StatusCode.ERROR, code)
        self._end("call")

    def _settling(self, _: Settling) -> None:
        self._end("call", "phase")
        self._open["settle"] = self._child("settle", {})

    def _settled(self, event: Settled) -> None:
        for span in (self._open["settle"], self.span):
            span.set_attribute(f"{OURS}.outcome", event.outcome)
            if event.outcome not in FINE:
                _failed(span, event.code or event.outcome)
        self._end("settle")

    def _ended(self, event: Ended) -> None:
        self._end("call", "phase", "settle")
        if event.lost:
            _failed(self.span, "LEASE_LOST")
        self.span.end()

    def _end(self, *names: str) -> None:
        for name in names:
            if span := self._open.pop(name, None):
                span.end()

    def _child(self, name: str, attributes: Mapping[str, Any], start: int | None = None) -> Span:
        return self._tracer.start_span(name, self._under_attempt, attributes=attributes, start_time=start)


def _failed(span: Span, code: str) -> None:
    span.set_attribute("error.type", code)
    span.set_status(StatusCode.ERROR, code)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
