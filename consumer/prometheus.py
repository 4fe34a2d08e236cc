"""The figures for Prometheus: keeps what the engine tells about calls and jobs, and reads the rest from the live parts.

Used by the HTTP face only; nothing else needs `prometheus_client`. Labels are bounded: the models of the settings,
steps, outcomes, error codes and clocks; never ids. Times in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consumer.errors import JobError
from consumer.job import JsonObject
from consumer.listener import ListenerState
from consumer.metrics import Observer
from consumer.status import Status, identity

PREFIX = "workflow_consumer"
# The first bound parts warm preloads from loads (traces/ollama.md, "Numbers"); the last is OLLAMA_TIMEOUT's default.
BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
CALL = ("model", "step")
# Figure of a call → histogram and what it measures (consumer/ollama_reply.py).
TIMES = {
    "model_load_time_ms": ("model_load", "Load before a call; up to 0.1 it was loaded already"),
    "queue_time_ms": ("queue", "Wait of a call for its turn, in this worker and at the server"),
    "prompt_time_ms": ("prompt", "Reading of the prompt"),
    "inference_time_ms": ("inference", "Writing of the answer"),
    "time_to_first_token_ms": ("time_to_first_token", "From the request to the first token, without the load"),
}
TOKENS = {"input_tokens": "Tokens of the prompts", "output_tokens": "Tokens of the answers"}


class Exporter(Observer):
    """Keeps figures from its making on. `text` gives them in Prometheus' text format."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more per figure, for the start of the process
        self.registry = CollectorRegistry()
        self._times = {key: self._histogram(name, about) for key, (name, about) in TIMES.items()}
        self._tokens = {key: self._counter(key, about, CALL) for key, about in TOKENS.items()}
        self._failures = self._counter("model_call_failures", "Model calls that failed", (*CALL, "code", "clock"))
        self._settled = self._counter("jobs_settled", "Attempts by the outcome written", ("outcome", "code"))

    def read(self, status: Status) -> None:
        """Read the rest from `status`, at each scrape."""
        self.registry.register(_Live(status))

    def text(self) -> bytes:
        """All figures."""
        return generate_latest(self.registry)

    def called(self, model: str, step: str, figures: JsonObject) -> None:
        """Keep a call's times and tokens."""
        for key, histogram in self._times.items():
            histogram.labels(model, step).observe(figures[key] / 1000)
        for key, counter in self._tokens.items():
            counter.labels(model, step).inc(figures[key])

    def call_failed(self, model: str, step: str, error: JobError) -> None:
        """Count it by its code, and the clock that ran out."""
        self._failures.labels(model, step, str(error.code), str(error.details.get("clock", ""))).inc()

    def settled(self, outcome: str, code: str) -> None:
        """Count it."""
        self._settled.labels(outcome, code).inc()

    def _histogram(self, name: str, about: str) -> Histogram:
        return Histogram(f"{PREFIX}_{name}_seconds", about, CALL, buckets=BUCKETS, registry=self.registry)

    def _counter(self, name: str, about: str, labels: Iterable[str]) -> Counter:
        return Counter(f"{PREFIX}_{name}", about, labels, registry=self.registry)


class _Live(Collector):
    """What the parts of the worker know at this moment."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from self._worker()
        yield from self._model_server()
        yield from self._models()

    def _worker(self) -> Iterator[Metric]:
        status = self._status
        yield _gauge("build_info", "The version that runs", 1, version=identity()["version"])
        yield _gauge("jobs_in_work", "Jobs in work", len(status.runner.running))
        yield _gauge("draining", "1 while the worker stops", status.stopping())
        yield _gauge("database_up", "1: the last heartbeat was answered", status.heartbeat.healthy)
        yield _gauge("realtime_ready", "1: a session is fed", status.listener.state is ListenerState.READY)
        yield _count("realtime_sessions", "Realtime sessions begun", status.listener.sessions)
        yield _count("missed_events", "Jobs claimed that no event had announced", status.dispatcher.missed_events)
        redis = status.redis
        yield _gauge("redis_up", "1: Redis spreads the doorbells", redis is not None and redis.trouble is None)
        yield _count("redis_fallbacks", "Times that Redis was lost", redis.fallbacks if redis else 0)

    def _model_server(self) -> Iterator[Metric]:
        recovery, lanes = self._status.recovery, self._status.lanes
        yield _gauge("circuit_open", "1: the model server is given up, no job is taken", recovery.trouble is not None)
        yield _count("model_server_looks", "Failures that had the model server looked into", recovery.looks)
        yield _count("model_server_cures", "Times that an unload set the model server free", recovery.cures)
        yield _gauge("both_models_fit", "1: the models work side by side", lanes.both_fit)
        yield _count("model_changes", "Changes of the model that has the lane", lanes.changes)

    def _models(self) -> Iterator[Metric]:
        models = self._status.models
        turns = CounterMetricFamily(f"{PREFIX}_lane_turns", "Calls that the lanes let through", labels=["model"])
        loads = CounterMetricFamily(f"{PREFIX}_model_loads", "Loads before a job's call", labels=["model"])
        last = GaugeMetricFamily(f"{PREFIX}_tokens_per_second", "Of the last call", labels=["model"])
        usual = GaugeMetricFamily(f"{PREFIX}_usual_tokens_per_second", "Usual speed", labels=["model"])
        slow = GaugeMetricFamily(f"{PREFIX}_model_slow", "1: far below the usual speed", labels=["model"])
        for model, speed in models.items():
            turns.add_metric([model], self._status.lanes.turns[model])
            loads.add_metric([model], speed.loads)
            slow.add_metric([model], speed.slow)
            for family, value in ((last, speed.last), (usual, speed.usual)):
                if value is not None:
                    family.add_metric([model], value)
        return iter((turns, loads, last, usual, slow))


def _gauge(name: str, about: str, value: float, **labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", about, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def _count(name: str, about: str, value: int) -> CounterMetricFamily:
    return CounterMetricFamily(f"{PREFIX}_{name}", about, value=value)
