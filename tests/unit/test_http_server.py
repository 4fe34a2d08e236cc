"""The HTTP server under the face: jobs come first, and every client its turn."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from consumer import status
from consumer.http_server import Server

CLIENTS = 60
# Seconds; so long a wait is a failure.
LONGEST = 30.0


class App:
    """Says yes, and ends the connection as the guard does; counts."""

    def __init__(self) -> None:
        self.answered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.answered += 1
        await PlainTextResponse("yes", headers={"connection": "close"})(scope, receive, send)


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[tuple[str, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(app, listener)
    address = listener.getsockname()
    work = asyncio.create_task(server.run_until_over())
    await server.up.wait()
    try:
        yield address
    finally:
        server.over.set()
        await work


def knock(address: tuple[str, int]) -> socket.socket:
    """A client that has sent its request, all without the loop."""
    client = socket.create_connection(address)
    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    client.setblocking(False)
    return client


async def answer(client: socket.socket) -> bytes:
    found = b""
    with client:
        while data := await asyncio.get_running_loop().sock_recv(client, 4096):
            found += data
    return found


async def test_a_crowd_of_clients_leaves_the_loop_to_the_jobs_and_all_are_answered() -> None:
    app = App()
    async with serving(app) as address:
        crowd = [knock(address) for _ in range(CLIENTS)]
        for _ in range(200):
            await asyncio.sleep(0)  # a step of a job
        assert app.answered <= CLIENTS / 3
        async with asyncio.timeout(LONGEST):
            answers = await asyncio.gather(*map(answer, crowd))
    assert all(each.startswith(b"HTTP/1.1 200 ") for each in answers)


async def test_a_connection_that_cannot_be_taken_does_not_end_the_face(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, app = asyncio.get_running_loop(), App()
    taken = loop.sock_accept
    failures = [OSError(24, "Too many open files")]

    async def scarce(listener: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            raise failures.pop()
        return await taken(listener)

    monkeypatch.setattr("consumer.http_server.TROUBLE", 0.0)
    monkeypatch.setattr(loop, "sock_accept", scarce)
    async with serving(app) as address, asyncio.timeout(LONGEST):
        assert (await answer(knock(address))).endswith(b"yes")


def test_who_the_worker_is_is_read_from_disk_once(monkeypatch: pytest.MonkeyPatch) -> None:
    before = status.identity()
    monkeypatch.delattr(status, "version")
    assert status.identity() == before
