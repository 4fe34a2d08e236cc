"""The workers of a chaos run: real processes behind a proxy each, started again when they end, as systemd does."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from benchmarks.chaos.proxy import Proxy
from tests.processes import Process

# Short clocks, so that what is broken is found in seconds. LEASE_SECONDS is the shortest that the settings take.
HASTE = {
    "LEASE_SECONDS": "5",
    "HEARTBEAT_SECONDS": "2",
    "MISSED_EVENT_GRACE": "2",
    "SHUTDOWN_GRACE": "3",
    "RETRY_DELAY_BASE": "0.2",
    "MAX_RETRIES": "20",
    "OLLAMA_LOAD_TIMEOUT": "2",
    "OLLAMA_FIRST_TOKEN_TIMEOUT": "2",
    "OLLAMA_BETWEEN_TOKENS_TIMEOUT": "2",
    "LOG_LEVEL": "WARNING",
}


class Member:
    """One place for a worker: its name, its proxy, and the process that is there now.

    `ends` counts exit codes; `tracebacks` are lines that no worker should ever write.
    """

    def __init__(self, name: str, proxy: Proxy, env: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.proxy = proxy
        self.ends: Counter[int] = Counter()
        self.starts = 0
        self.tracebacks: list[str] = []
        self._env = {**env, **HASTE, "SUPABASE_URL": proxy.url, "WORKER_ID": name}
        self._folder = folder
        self._process: Process | None = None

    async def run(self) -> None:
        """Keep a worker running until cancelled; then end it for good."""
        try:
            while True:
                self._process = Process("run", env=self._env, cwd=self._folder)
                self.starts += 1
                self.ends[await asyncio.to_thread(self._process.wait, None)] += 1
                self._close(self._process)
                await asyncio.sleep(0.2)
        finally:
            if self._process is not None:
                self._process.process.kill()
                self._process.wait()
                self._close(self._process)

    def _close(self, process: Process) -> None:
        self.tracebacks += [line for line in process.lines if "Traceback" in line]
        process.close()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the worker that is there now, if it still runs."""
        if self._process is not None and self._process.process.poll() is None:
            self._process.process.send_signal(number)

    @property
    def pid(self) -> int | None:
        """Process id of the worker that is there now."""
        return self._process.process.pid if self._process is not None else None
