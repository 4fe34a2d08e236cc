"""What a worker says about itself: to its row in `workflow_workers`, to `/health` and `/readyz`, and to the metrics.

Made by the app. Reads the live parts and does no I/O, so it can be asked at any time and as often as anybody likes.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from consumer.announcer import Announcer
from consumer.dispatcher import Dispatcher
from consumer.heartbeat import Heartbeat
from consumer.inspection import Defect, clock_defect
from consumer.inspector import Inspector
from consumer.job import JsonObject
from consumer.lanes import Lanes
from consumer.listener import Listener
from consumer.preflight import explained
from consumer.recovery import Recovery
from consumer.runner import Runner
from consumer.settings import Settings
from consumer.speed import Speed, Speeds
from consumer.twin import Twin

if TYPE_CHECKING:
    from consumer.redis_bell import RedisBell

MODEL_SERVER_STATES = ("working", "suspect", "given up")
_LOOK_AT_REALTIME = "Is Realtime switched on, and does it run? Try it: consumer doctor"


@dataclass(frozen=True, slots=True)
class Health:
    """`reasons` say why the worker does not do all its work and what to do about it; `warnings`, what to look at.

    `broken`: it can do none at all.
    """

    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    broken: bool
    checks: JsonObject

    @property
    def status(self) -> str:
        """`healthy`, `degraded` (some or all jobs have to wait) or `unhealthy` (the database is away)."""
        if self.broken:
            return "unhealthy"
        return "degraded" if self.reasons else "healthy"

    def as_json(self) -> JsonObject:
        """As `/health` answers (contract §3)."""
        return {"status": self.status, **self.checks, "reasons": self.reasons, "warnings": self.warnings}


@dataclass(frozen=True, slots=True)
class Status:
    """The parts that know how the worker is. `stopping` says whether it drains."""

    settings: Settings
    listener: Listener
    announcer: Announcer
    heartbeat: Heartbeat
    inspector: Inspector
    dispatcher: Dispatcher
    runner: Runner
    lanes: Lanes
    recovery: Recovery
    speeds: Speeds
    redis: RedisBell | None
    twin: Twin
    stopping: Callable[[], bool]

    @property
    def models(self) -> dict[str, Speed]:
        """The speed of each model that the settings name."""
        return {model: self.speeds[model] for model in self.settings.models.values()}

    @property
    def paused(self) -> str:
        """What a paused worker says of itself."""
        return f"paused: no job is taken until: consumer resume {self.settings.worker_id}"

    def row(self) -> JsonObject:
        """What the worker's row in `workflow_workers` says about it."""
        return {
            **identity(),
            "concurrency": self.settings.worker_concurrency,
            "busy_with": self.runner.running,
            "models": dict(self.settings.models),
            "realtime": "degraded" if self.announcer.degraded else self.listener.state.value,
            "degraded": self.announcer.degraded,
            "paused": self.dispatcher.paused,
            "missed_events": self.dispatcher.missed_events,
            "redis_available": self._redis_available,
            "model_server": {**self._model_server(), "models": self._models()},
            "tasks": len(asyncio.all_tasks()),
            "heartbeat_seconds": self.settings.heartbeat_seconds,
            # that it can be written means that the database is there
            "health": {
                "status": "degraded" if (reasons := self._own_reasons()) else "healthy",
                "reasons": reasons,
                "warnings": self._warnings(),
            },
        }

    @property
    def sentence(self) -> str:
        """How the worker is, for systemd's STATUS."""
        in_work = f"{len(self.runner.running)} job(s) in work"
        if self.stopping():
            return f"stopping, {in_work}"
        if not self.announcer.started:
            return "starting: waiting for Realtime"
        if trouble := self.recovery.trouble:
            return f"no jobs taken: {trouble.why}"
        if self.dispatcher.paused:
            return f"{self.paused}, {in_work}"
        if self.announcer.degraded:
            return f"degraded: no Realtime, jobs are found by heartbeat ({self.announcer.degraded}), {in_work}"
        return f"ready, {in_work if self.runner.running else 'waiting for jobs'}"

    def health(self) -> Health:
        """All that `/health` says."""
        checks = {
            "worker_id": self.settings.worker_id,
            "version": identity()["version"],
            "ollama_url": self.settings.ollama_local_url,
            "redis_available": self._redis_available,
            "database": {
                "ok": self.heartbeat.healthy and not any(defect.stops_work for defect in self.inspector.defects),
                "clock_off_seconds": round(self.heartbeat.clock_off, 3),
            },
            "realtime": {"ok": not self._deaf, "state": self.listener.state.value, "trouble": self._deaf},
            "model_server": {"ok": self.recovery.trouble is None, **self._model_server()},
            "models": self._models(),
            "slots": {"concurrency": self.settings.worker_concurrency, "in_work": len(self.runner.running)},
            "draining": self.stopping(),
            "paused": self.dispatcher.paused,
        }
        return Health(tuple(self._reasons()), tuple(self._warnings()), not self.heartbeat.healthy, checks)

    def not_ready(self) -> str | None:
        """Why no job would be taken now, in a word or two that tell a stranger nothing; None when one would be.

        Without Realtime the heartbeat finds the jobs, so that is ready.
        """
        if self.stopping():
            return "stopping"
        if not self.announcer.started:
            return "starting"
        if self.dispatcher.paused:
            return "paused"
        if not self.heartbeat.healthy:
            return "database"
        return "model server" if self.recovery.trouble else None

    @property
    def _deaf(self) -> str | None:
        """Why Realtime is missed; a short absence is not worth a word (see the announcer)."""
        if not self.announcer.started:
            return self.listener.trouble or "not yet announced"
        return self.announcer.degraded

    def _reasons(self) -> list[str]:
        url, trouble = self.settings.supabase_url, self.heartbeat.trouble
        if trouble is not None:
            return [f"database: {explained(trouble, url)}", *self._own_reasons()]
        if not self.heartbeat.healthy:
            return [f"database: no heartbeat has been answered yet; is {url} running?", *self._own_reasons()]
        return self._own_reasons()

    def _own_reasons(self) -> list[str]:
        """All but the database's being away."""
        reasons = [str(defect) for defect in self._defects(stops_work=True)]
        if self.heartbeat.healthy and self.dispatcher.trouble is not None:
            reasons.append(f"claims: {explained(self.dispatcher.trouble, self.settings.supabase_url)}")
        if self._deaf:
            reasons.append(f"realtime: jobs are found by heartbeat only ({self._deaf}). {_LOOK_AT_REALTIME}")
        if self.stopping():
            grace = self.settings.shutdown_grace
            reasons.append(f"draining: no job is taken any more, those in work have {grace:g} s. Start another worker")
        if self.dispatcher.paused:
            reasons.append(f"{self.paused}.")
        if trouble := self.recovery.trouble:
            reasons.append(f"model server: no job is taken because of model {trouble.model!r}: {trouble.why}")
        return reasons

    def _defects(self, *, stops_work: bool) -> list[Defect]:
        clock = clock_defect(self.heartbeat.clock_off)
        found = [*self.inspector.defects, *([clock] if clock else [])]
        return [defect for defect in found if defect.stops_work is stops_work]

    def _warnings(self) -> list[str]:
        alarms = [alarm for model, speed in self.models.items() if (alarm := speed.alarm(model))]
        alarms += map(str, self._defects(stops_work=False))
        if twin := self.twin.trouble:
            alarms.append(twin)
        if looked_into := self.recovery.suspicion:
            alarms.append(f"looking into the model server: {looked_into}")
        if self.redis is not None and self.redis.trouble:
            alarms.append(
                f"redis: every idle worker looks at each new job, as without REDIS_URL ({self.redis.trouble})"
            )
        return alarms

    @property
    def _redis_available(self) -> bool:
        return self.redis is not None and self.redis.trouble is None

    @property
    def model_server_state(self) -> str:
        """One of MODEL_SERVER_STATES."""
        if self.recovery.trouble:
            return "given up"
        return "suspect" if self.recovery.suspicion else "working"

    def _model_server(self) -> JsonObject:
        trouble = self.recovery.trouble
        return {
            "state": self.model_server_state,
            "trouble": None if trouble is None else trouble.as_json(),
            "cures": self.recovery.cures,
            "both_models_fit": self.lanes.both_fit,
        }

    def _models(self) -> JsonObject:
        return {model: speed.as_json() for model, speed in self.models.items()}


def identity() -> JsonObject:
    """Who this process is."""
    return {"hostname": socket.gethostname(), "pid": os.getpid(), "version": _version()}


@cache
def _version() -> str:
    """Read once: it is in a file, and took most of the time of an answer of /health (benchmarks/face.py)."""
    return version("workflow-consumer")
