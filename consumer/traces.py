"""One OpenTelemetry trace per job: its attempts, each with its claim, phases, model calls and settle.

Made by the app when an OTLP endpoint is set; nothing else loads OpenTelemetry, which reads the other standard OTEL_*
variables itself. A trace starts from the row's `traceparent`; without one its id is made from the job, so that all
attempts, on whatever worker, are in one.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

from loguru import logger
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, format_trace_id, set_span_in_context

from consumer.job import TRACEPARENT_PATTERN, Job
from consumer.metrics import Begun, Ended, Event, Observer
from consumer.spans import AttemptSpans
from consumer.status import identity

SERVICE = "workflow-consumer"
# Seconds for what is left to send when the worker ends.
LAST_SPANS = 3.0


class Tracing(Observer):
    """Sends spans to `endpoint` (a whole URL) from a bounded queue, in its own thread; what it cannot send is lost.

    Raises:
        ValueError: an OTEL_* variable has a wrong value.
    """

    def __init__(self, endpoint: str, *, worker_id: str, model_server: str) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # the exporter says once what there is to say
        version = identity()["version"]
        who = Resource.create({"service.name": SERVICE, "service.version": version, "service.instance.id": worker_id})
        self._ids = _Ids()
        self._provider = TracerProvider(
            resource=who.merge(OTELResourceDetector().detect()), id_generator=self._ids, shutdown_on_exit=False
        )
        self._exporter = _Exporter(endpoint)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer(SERVICE, version)
        self._model_server = model_server
        self._attempts: dict[tuple[str, int], AttemptSpans] = {}

    def see(self, job: Job, event: Event) -> None:
        """Begin, enrich or end spans."""
        key = job.id, job.attempt
        if isinstance(event, Begun):
            self._ids.trace_id = _trace_id(job)
            self._attempts[key] = AttemptSpans(self._tracer, _parent(job), job, event, self._model_server)
        elif spans := self._attempts.get(key):  # a row that cannot be read has none
            spans.see(event)
        if isinstance(event, Ended):
            del self._attempts[key]

    def words(self, job: Job) -> Mapping[str, str]:
        """The trace's id, if the trace is kept."""
        span = self._attempts[job.id, job.attempt].span
        return {"trace_id": format_trace_id(span.get_span_context().trace_id)} if span.is_recording() else {}

    async def aclose(self) -> None:
        """Send what is left, for a bounded time; nothing is sent after that."""
        sent, loop = asyncio.Event(), asyncio.get_running_loop()

        def send() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=send, name="last spans", daemon=True).start()
        try:
            async with asyncio.timeout(LAST_SPANS):
                await sent.wait()
        except TimeoutError:
            if not self._exporter.failing:
                logger.warning("the last traces could not be sent within {:g} s", LAST_SPANS)


class _Ids(RandomIdGenerator):
    """Random ids, but for the trace that has no parent: its id was told before."""

    trace_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id


class _Exporter(SpanExporter):
    """Says once that spans do not arrive (`failing`), and once that they do again. Called in the processor's thread."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._exporter = OTLPSpanExporter(endpoint)
        self.failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        was, self.failing = self.failing, result is not SpanExportResult.SUCCESS
        if self.failing and not was:
            logger.warning(
                "traces are lost: {} does not take them. Is a collector for OTLP over HTTP there?", self._endpoint
            )
        elif was and not self.failing:
            logger.info("traces arrive again")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the library has no type here


def _parent(job: Job) -> Context:
    """The context that the row names; an invalid one is ignored, as the standard asks for."""
    found = re.fullmatch(TRACEPARENT_PATTERN, job.traceparent or "")
    if found is None:
        return Context()
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    return set_span_in_context(NonRecordingSpan(SpanContext(trace_id, span_id, True, TraceFlags(flags))), Context())


def _trace_id(job: Job) -> int:
    """The same for all attempts; never 0, as far as anybody will see."""
    return int.from_bytes(hashlib.sha256(f"{job.id} {job.created_at.isoformat()}".encode()).digest()[:16])
