"""The end of systemd that a service speaks to: a real datagram socket, and what came in through it, in order."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Manager:
    """`heard` are the datagrams so far; `env` is what a service that it starts finds in its environment."""

    def __init__(self, channel: socket.socket, address: str) -> None:
        self._channel = channel
        self.env = {"NOTIFY_SOCKET": address}
        self.heard: list[str] = []

    def next(self) -> str:
        """The next datagram; fails when none comes."""
        self.heard.append(self._channel.recv(4096).decode())
        return self.heard[-1]

    def wait_for(self, word: str) -> str:
        """The next datagram that holds `word`."""
        while word not in self.next():
            pass
        return self.heard[-1]

    def waiting(self) -> list[str]:
        """Takes the datagrams that have come and were not looked at."""
        known = len(self.heard)
        self._channel.setblocking(False)
        try:
            while True:
                self.next()
        except BlockingIOError:
            return self.heard[known:]
        finally:
            self._channel.settimeout(60)

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing comes for so long, once what has already come is taken."""
        self.waiting()
        self._channel.settimeout(seconds)
        try:
            self.next()
        except TimeoutError:
            return True
        finally:
            self._channel.settimeout(60)
        return False


@contextmanager
def manager(folder: Path, **env: str) -> Iterator[Manager]:
    """Listens at a path in `folder`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(folder / "notify"))
        channel.settimeout(60)
        listening = Manager(channel, str(folder / "notify"))
        listening.env |= env
        yield listening
