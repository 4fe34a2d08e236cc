"""A real Redis of a test's own: its own port and folder, started, killed, hung and filled at will."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from devstack.postgres import free_port
from tests.debian import program
from tests.waiting import eventually


class RedisServer:
    """Empty at each start: it stores nothing."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._options = options
        self._program = program("redis-server")
        self._folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            [
                self._program,
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
                str(self._folder),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
        )
        eventually("Redis answers", self._answers)

    def _answers(self) -> bool:
        try:
            return bool(self.do("PING"))
        except RedisError:
            return False

    def do(self, *command: str | int, password: str | None = None) -> Any:
        """What it answers to a command."""
        with Redis(port=self.port, password=password) as redis:
            return redis.execute_command(*command)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL; nothing when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[RedisServer]:
    """A running Redis, with more options of its command line; killed at the end."""
    server = RedisServer(folder, *options)
    try:
        server.start()
        yield server
    finally:
        server.kill()
