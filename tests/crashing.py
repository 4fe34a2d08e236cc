"""Real workers that fail at a named point of a job's life: the real `consumer run`, in a process of its own.

Forked from a server that has imported everything, because a test of a crash needs many starts; `python -m
tests.crashing` would be the same process, a second later. `Fault` says where and how; the product's hook is set in the
child alone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loguru import logger

from consumer import faults
from consumer.app import run_worker  # noqa: F401  # imported once, by the server that all workers are forked from
from consumer.cli import main
from consumer.faults import FaultPoint
from consumer.job import Job
from tests.processes import environment
from tests.waiting import eventually

Manner = Literal["raise", "kill", "stop", "block"]
# No heartbeat comes in time: only an event or a deadline can start work. And leases end when a test says so.
QUIET = {"HEARTBEAT_SECONDS": "300", "LEASE_SECONDS": "60", "RETRY_DELAY_BASE": "0.05"}
# Exit code of a process that was killed.
KILLED = -signal.SIGKILL


class Defect(Exception):
    """A bug of the worker, as far as the worker can tell."""


@dataclass(frozen=True, slots=True)
class Fault:
    """At `point`, at its first job whose prompt holds `marker`.

    `raise` is a defect, `kill` SIGKILL, `stop` SIGSTOP; `block` keeps the event loop until the file `gate` exists.
    """

    point: FaultPoint
    manner: Manner
    marker: str = ""
    gate: Path = Path(os.devnull)


class Trap:
    """The hook: springs once."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._sprung = False

    def __call__(self, point: FaultPoint, job: Job | None) -> None:
        if self._sprung or point is not self._fault.point or (job and self._fault.marker not in job.prompt):
            return
        self._sprung = True
        logger.info("the trap {!r} springs", str(point))
        match self._fault.manner:
            case "raise":
                raise Defect(f"on purpose, at {point}")
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "block":
                while not self._fault.gate.exists():
                    time.sleep(0.01)


def _work(env: Mapping[str, str], said: Path, fault: Fault | None) -> None:
    """The child: its own output and environment, the trap, then the command line as a person calls it."""
    with said.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(said.parent)
    os.environ.clear()
    os.environ.update(environment(env))
    faults.hook = Trap(fault) if fault is not None else None
    main(["run"])


class Worker:
    """A running worker; `said` is what it has written so far."""

    def __init__(self, env: Mapping[str, str], folder: Path, fault: Fault | None) -> None:
        self._file = folder / f"worker-{time.monotonic_ns()}.log"
        self._file.touch()
        self._process = _CONTEXT.Process(target=_work, args=(dict(env), self._file, fault))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def said(self) -> str:
        """Its output so far."""
        return self._file.read_text()

    def wait_for(self, *texts: str) -> None:
        """Until it has written one of these; fails with all it wrote when it does not, or ends before."""

        def wrote() -> bool:
            return any(text in self.said for text in texts)

        try:
            eventually(str(texts), lambda: wrote() or not self._process.is_alive())
            assert wrote(), f"the worker ended before {texts}"
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said}") from None

    def ended(self) -> int | None:
        """Wait for its end; returns the exit code, negative for a signal."""
        self._process.join(60)
        return self._process.exitcode

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def close(self) -> None:
        """Kill it if it still runs."""
        self._process.kill()
        self._process.join()
        self._process.close()


@contextmanager
def working(env: Mapping[str, str], folder: Path, fault: Fault | None = None) -> Iterator[Worker]:
    """A worker that has said that it is ready; killed at the end."""
    worker = Worker(env, folder, fault)
    try:
        worker.wait_for("ready: waiting for jobs")
        yield worker
    finally:
        worker.close()


_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pytest", "tests.crashing"])
