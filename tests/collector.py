"""A collector of traces on loopback: takes OTLP over HTTP, as protobuf, and keeps the spans."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.waiting import eventually


@dataclass(frozen=True)
class Seen:
    """One span as it arrived; ids in hex, no parent is an empty text, `error` the description of an error status."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int
    error: str | None
    attributes: dict[str, Any]
    events: list[str]


@dataclass
class Collector:
    """What has arrived; while `status` is not 200, everything is refused with it."""

    url: str = ""
    spans: list[Seen] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    status: int = 200

    def take(self, path: str, body: bytes) -> int:
        """Keep one request's spans."""
        assert path == "/v1/traces"
        if self.status != 200:
            return self.status
        self.bodies.append(body)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(_plain(group.resource.attributes))
            self.spans += [_seen(span) for scope in group.scope_spans for span in scope.spans]
        return 200

    def of(self, job_id: str, attempts: int = 1) -> list[Seen]:
        """The spans of a job's traces, by their start, once so many attempts of it are there."""
        key = "workflow_consumer.job.id"

        def whole() -> list[Seen]:
            return [span for span in self.spans if span.attributes.get(key) == job_id]

        eventually(f"{attempts} attempt(s) of {job_id} have arrived", lambda: len(whole()) >= attempts)
        traces = {span.trace_id for span in whole()}
        return sorted((span for span in self.spans if span.trace_id in traces), key=lambda span: span.start)


@contextmanager
def collector() -> Iterator[Collector]:
    """One that listens."""
    kept = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(kept.take(self.path, body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing to say."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        kept.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield kept
        finally:
            server.shutdown()
            thread.join(10)


def _seen(span: Span) -> Seen:
    return Seen(
        span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.start_time_unix_nano,
        span.end_time_unix_nano, span.status.message if span.status.code == span.status.STATUS_CODE_ERROR else None,
        _plain(span.attributes), [event.name for event in span.events],
    )  # fmt: skip


def _plain(attributes: Any) -> dict[str, Any]:
    pairs: list[KeyValue] = list(attributes)
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, str(kind))
