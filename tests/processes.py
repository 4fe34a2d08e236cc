"""Real processes for acceptance tests: start `consumer …`, wait for what it says, end it by its own id."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """A clean environment: nothing of the developer's own settings reaches the process under test.

    It runs the code of this checkout, wherever the packages are installed; a `PYTHONPATH` of `extra` comes before.
    """
    paths = [extra["PYTHONPATH"]] if "PYTHONPATH" in extra else []
    ours = {"LOG_FORMAT": "json", **extra, "PYTHONPATH": os.pathsep.join([*paths, str(ROOT)])}
    return {name: os.environ[name] for name in INHERITED if name in os.environ} | ours


def run_consumer(
    *arguments: str, env: Mapping[str, str], cwd: Path, stdin: str | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "consumer", *arguments], env=environment(env), cwd=cwd, input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None, capture_output=True, text=True, timeout=timeout,
        check=False,
    )  # fmt: skip


class Process:
    """A running `consumer …`; its stderr lines are JSON log lines or plain text."""

    def __init__(self, *arguments: str, env: Mapping[str, str], cwd: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "consumer", *arguments], env=environment(env), cwd=cwd,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self._new: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            self._new.put(line.rstrip())
        self._new.put(None)

    def wait_for(self, text: str, timeout: float = 60) -> str:
        """The next line that holds `text`; fails with all the lines when the process ends or time runs out."""
        while True:
            try:
                line = self._new.get(timeout=timeout)
            except queue.Empty:
                raise AssertionError(f"no {text!r} within {timeout} s:\n" + "\n".join(self.lines)) from None
            if line is None:
                raise AssertionError(f"the process ended before {text!r}:\n" + "\n".join(self.lines))
            if text in line:
                return line

    def address(self) -> str:
        """The URL of its HTTP face, once it has said where that is."""
        return str(json.loads(self.wait_for("answering on"))["message"].split()[-1])

    def stop(self, number: int = signal.SIGTERM, timeout: float = 60) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait(timeout)

    def wait(self, timeout: float | None = 60) -> int:
        """Wait for the end; None waits as long as it takes."""
        code = self.process.wait(timeout)
        self._reader.join(10)
        return code

    def close(self) -> None:
        """Close the pipes of a process that has ended."""
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    @property
    def logs(self) -> list[dict[str, Any]]:
        """The JSON log lines so far."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]


@contextmanager
def running(*arguments: str, env: Mapping[str, str], cwd: Path) -> Iterator[Process]:
    """A process that is killed at the end if it still runs."""
    process = Process(*arguments, env=env, cwd=cwd)
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.process.kill()
        process.wait()
        process.close()


@contextmanager
def running_worker(env: Mapping[str, str], cwd: Path, **more: str) -> Iterator[Process]:
    """A worker that has said that it is ready."""
    with running("run", env={**env, **more}, cwd=cwd) as process:
        process.wait_for("ready: waiting for jobs")
        yield process
