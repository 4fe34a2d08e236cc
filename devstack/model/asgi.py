"""What the HTTP face needs of its server: uvicorn without signals, bodies, leavers, and which hosts may ask.

Called by `devstack.model.server`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvicorn

from devstack.errors import DevStackError

Receive = Callable[[], Awaitable[Any]]
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")


class QuietServer(uvicorn.Server):
    """uvicorn without signal handlers, and with a word when it listens: `up`."""

    def __init__(self, application: Any) -> None:
        config = uvicorn.Config(
            application, http="h11", ws="none", lifespan="off", log_config=None, log_level="critical", access_log=False,
            server_header=False, timeout_keep_alive=75,
        )  # fmt: skip
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the program, not to this server."""
        yield


def listener_on(host: str, port: int) -> socket.socket:
    """A bound socket; `port` 0 takes a free one.

    Raises:
        DevStackError: the port is taken.
    """
    # The protocol must be named, or asyncio leaves Nagle's algorithm on and chunks wait 40 ms for an ACK.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise DevStackError(
            f"the model server cannot listen on {host}:{port} ({error.strerror}): "
            "stop what listens there (perhaps a real Ollama), or choose another port"
        ) from error
    return listener


def is_local(host: str) -> bool:
    """Whether a Host header may come from this machine: a guard against DNS rebinding, as in the real one."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    name = name.strip("[]").lower()
    if name in ("", "localhost", socket.gethostname().lower()) or name.endswith(_LOCAL_SUFFIXES):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def body_of(receive: Receive) -> bytes:
    """The whole body of a request."""
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def gone(receive: Receive) -> None:
    """Return when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
