"""A Realtime server that misbehaves on demand: what the real one was seen to do (facts of §1.3), one play per socket.

Used by the listener's tests. Each connection gets the next play of the script; after the last one comes `well`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from types import TracebackType
from typing import Any, Literal, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

Frame = dict[str, Any]


class Peer:
    """The server's end of one connection."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.join: Frame = {}

    async def receive(self, event: str) -> Frame:
        """The next frame of this kind; heartbeats and others are answered or dropped on the way."""
        async for text in self.socket:
            frame: Frame = json.loads(text)
            if frame["event"] == event:
                return frame
        raise ConnectionError("the client has gone")

    async def send(self, event: str, payload: Any, *, topic: str = "", ref: str | None = None) -> None:
        frame = {"ref": ref, "event": event, "payload": payload, "topic": topic or self.join["topic"]}
        await self.socket.send(json.dumps(frame))

    async def accept(self, join: Frame) -> None:
        bindings = join["payload"]["config"].get("postgres_changes", [])
        echoed = [{"id": index + 1, **binding} for index, binding in enumerate(bindings)]
        payload = {"status": "ok", "response": {"postgres_changes": echoed}}
        await self.send("phx_reply", payload, topic=join["topic"], ref=join["ref"])

    async def refuse(self, join: Frame, reason: str) -> None:
        payload = {"status": "error", "response": {"reason": reason}}
        await self.send("phx_reply", payload, topic=join["topic"], ref=join["ref"])

    async def system(self, status: str = "ok", message: str = "Subscribed to PostgreSQL") -> None:
        channel = self.join["topic"].removeprefix("realtime:")
        payload = {"message": message, "status": status, "extension": "postgres_changes", "channel": channel}
        await self.send("system", payload)

    async def change(self, kind: str, table: str, record: Frame | None, ids: list[int], **data: Any) -> None:
        described = {
            "table": table, "type": kind, "record": record, "columns": [], "errors": None, "schema": "public",
            "commit_timestamp": "2026-11-23T12:00:00.000Z", **data,
        }  # fmt: skip
        await self.send("postgres_changes", {"data": described, "ids": ids})

    async def insert(self, job_id: str) -> None:
        await self.change("INSERT", "workflow_generation_jobs", {"id": job_id}, [1])

    async def own_row(self, record: Frame) -> None:
        await self.change("UPDATE", "workflow_workers", record, [2])

    async def subscribe(self) -> None:
        """Join and start the feed of the first channel, as a healthy server does."""
        self.join = await self.receive("phx_join")
        await self.accept(self.join)
        await self.system()

    async def broadcast_join(self) -> Frame:
        return await self.receive("phx_join")

    def black_hole(self) -> None:
        """Half-open: from here on nothing is read and nothing is sent, and nobody is told."""
        self.socket.transport.pause_reading()


Play = Callable[[Peer], Awaitable[None]]
# Accept the TCP connection, and never answer the handshake.
Silence = Literal["silence"]
SILENCE: Silence = "silence"
Act = Play | HTTPStatus | Silence


async def well(peer: Peer) -> None:
    """A healthy server, without another word."""
    await peer.subscribe()
    await peer.accept(await peer.broadcast_join())
    async for _ in peer.socket:
        pass  # heartbeats: unread, they would fill the socket's queue in seven minutes


class Phoenix:
    """The server: `connects` counts handshakes, `peers` holds the accepted ones in order, `url` is for the client."""

    def __init__(self, *script: Act, otherwise: Act = well, port: int = 0) -> None:
        self._script = list(script)
        self._otherwise = otherwise
        self._port = port
        self._server: Server | None = None
        self.connects = 0
        self.open = 0
        self.peers: list[Peer] = []

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}/realtime/v1"

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._play, "127.0.0.1", self._port, process_request=self._greet, close_timeout=0.2, ping_interval=None
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def next_act(self) -> Act:
        """What the next connection gets."""
        return self._script.pop(0) if self._script else self._otherwise

    async def _greet(self, socket: ServerConnection, request: Request) -> Response | None:
        self.connects += 1
        play = self.next_act()
        if play == SILENCE:
            await socket.wait_closed()
        if isinstance(play, HTTPStatus):
            return socket.respond(play, "")
        socket.play = play  # type: ignore[attr-defined]
        return None

    async def _play(self, socket: ServerConnection) -> None:
        play: Play = socket.play  # type: ignore[attr-defined]
        peer = Peer(socket)
        self.peers.append(peer)
        self.open += 1
        try:
            await play(peer)
        except (ConnectionClosed, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
