"""The figures for Prometheus: those that are kept as they arise, and the rest, read from the live parts at each scrape.

Used by the HTTP face only; nothing else needs `prometheus_client`. Labels are bounded (consumer/counters.py).
Times in seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from prometheus_client import ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consumer.counters import PREFIX, Counters
from consumer.listener import ListenerState
from consumer.status import MODEL_SERVER_STATES, Status, identity


class Exporter(Counters):
    """Keeps figures from its making on. `text` gives them, and those of the process, in Prometheus' text format."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more per figure, for the start of the process
        super().__init__()
        ProcessCollector(registry=self.registry)

    def read(self, status: Status) -> None:
        """Read the rest from `status`, at each scrape."""
        self.registry.register(_Live(status))

    def text(self) -> bytes:
        """All figures."""
        return generate_latest(self.registry)


class _Live(Collector):
    """What the parts of the worker know at this moment."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from self._worker()
        yield from self._queue()
        yield from self._realtime()
        yield from self._model_server()
        yield from self._models()

    def _worker(self) -> Iterator[Metric]:
        status = self._status
        yield _gauge("build_info", "The version that runs", 1, version=identity()["version"])
        yield _gauge("ready", "1: a job would be taken now, as far as is known", status.not_ready() is None)
        yield _gauge("slots", "WORKER_CONCURRENCY: jobs worked on at once", status.settings.worker_concurrency)
        yield _gauge("jobs_in_work", "Jobs in work, with those taken ahead for a batch", len(status.runner.running))
        yield _gauge("draining", "1 while the worker stops", status.stopping())
        yield _gauge("paused", "1 while an operator keeps it from taking jobs", status.dispatcher.paused)
        yield _count("claims", "Jobs claimed", status.dispatcher.claims)
        yield _count("missed_events", "Jobs claimed that no event had announced", status.dispatcher.missed_events)
        redis = status.redis
        yield _gauge("redis_up", "1: Redis spreads the doorbells", redis is not None and redis.trouble is None)
        yield _count("redis_fallbacks", "Times that Redis was lost", redis.fallbacks if redis else 0)

    def _queue(self) -> Iterator[Metric]:
        """What the last heartbeat's answer says of the whole project's queue: every worker says the same."""
        heartbeat = self._status.heartbeat
        yield _gauge("database_up", "1: the last heartbeat was answered", heartbeat.healthy)
        yield _count("heartbeat_failures", "Heartbeats that the database did not answer", heartbeat.failures)
        pulse, at = heartbeat.pulse, heartbeat.answered_at
        if pulse is None or at is None:
            return
        yield _gauge("clock_ahead_seconds", "How far this host's clock is ahead of the database's", heartbeat.clock_off)
        age, oldest = time.monotonic() - at, pulse.oldest_claimable_seconds or 0.0
        yield _gauge("heartbeat_age_seconds", "Since the last answered heartbeat; the queue's figures are so old", age)
        yield _gauge("queue_claimable", "Jobs that wait to be claimed, counted up to 1000", pulse.claimable)
        yield _gauge("queue_delayed", "Jobs that have yet to become claimable, counted up to 1000", pulse.delayed)
        yield _gauge("queue_oldest_seconds", "For how long the oldest claimable job has been so; 0: none is", oldest)

    def _realtime(self) -> Iterator[Metric]:
        listener, announcer = self._status.listener, self._status.announcer
        yield _gauge("realtime_ready", "1: a session is fed", listener.state is ListenerState.READY)
        yield _gauge("realtime_degraded", "1: jobs are found by heartbeat only", announcer.degraded is not None)
        yield _gauge("realtime_broadcast_ready", "1: the faster doorbell is connected too", listener.broadcast_ready)
        yield _count("realtime_sessions", "Realtime sessions begun, planned ones too", listener.sessions)
        yield _count("realtime_reconnects", "Sessions lost or not come about; each is tried anew", listener.losses)

    def _model_server(self) -> Iterator[Metric]:
        recovery, lanes = self._status.recovery, self._status.lanes
        state = GaugeMetricFamily(f"{PREFIX}_model_server_state", "1 for the state that it is in", labels=["state"])
        for name in MODEL_SERVER_STATES:
            state.add_metric([name], name == self._status.model_server_state)
        yield state
        yield _gauge("circuit_open", "1: the model server is given up, no job is taken", recovery.trouble is not None)
        yield _count("model_server_looks", "Failures that had the model server looked into", recovery.looks)
        yield _count("model_server_cures", "Times that an unload set the model server free", recovery.cures)
        yield _gauge("both_models_fit", "1: the models work side by side", lanes.both_fit)
        yield _count("model_changes", "Changes of the model that has the lane", lanes.changes)

    def _models(self) -> Iterator[Metric]:
        models = self._status.models
        turns = CounterMetricFamily(f"{PREFIX}_lane_turns", "Calls that the lanes let through", labels=["model"])
        loads = CounterMetricFamily(f"{PREFIX}_model_loads", "Loads, for a job or a cure", labels=["model", "cause"])
        last = GaugeMetricFamily(f"{PREFIX}_tokens_per_second", "Of the last call", labels=["model"])
        usual = GaugeMetricFamily(f"{PREFIX}_usual_tokens_per_second", "Usual speed", labels=["model"])
        slow = GaugeMetricFamily(f"{PREFIX}_model_slow", "1: far below the usual speed", labels=["model"])
        for model, speed in models.items():
            turns.add_metric([model], self._status.lanes.turns[model])
            loads.add_metric([model, "job"], speed.loads)
            loads.add_metric([model, "recovery"], self._status.recovery.loads[model])
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
