"""One WebSocket: reads pushes one after the other, writes frames in order, owns the socket's channels. For `api`."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from devstack.realtime.channel import Channel
from devstack.realtime.database import LOST
from devstack.realtime.joining import PREFIX, Refused, admit, read
from devstack.realtime.protocol import Push, Version, decode, dumps, encode

if TYPE_CHECKING:
    from devstack.realtime.stack import Stack

log = logging.getLogger(__name__)
CUT = -1  # instead of a close code: end the TCP connection without a close frame
_NO_DATABASE = "UnableToConnectToProject: Realtime was unable to connect to the project database"


class Socket:
    """Made after the handshake; `run` lasts as long as the connection."""

    def __init__(self, stack: Stack, connection: WebSocket, version: Version, token: str) -> None:
        self.stack = stack
        self.version = version
        self._connection = connection
        self._token = token
        self._channels: dict[str, Channel] = {}
        self._outbox: asyncio.Queue[str | bytes] = asyncio.Queue()
        self._end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()

    async def run(self) -> None:
        """Serve the connection until either side ends it."""
        self.stack.hub.sockets.add(self)
        workers = [asyncio.create_task(work) for work in (self._read(), self._write())]
        try:
            code = await self._end
        finally:
            for worker in workers:
                worker.cancel()
            for failure in await asyncio.gather(*workers, return_exceptions=True):
                if isinstance(failure, Exception):
                    log.error("a socket was cut because of an error", exc_info=failure)
            for channel in self._channels.values():
                channel.stop()
            self.stack.hub.sockets.discard(self)
        if code != CUT:
            await self._connection.close(code)
        self.ended.set()

    def end(self, code: int) -> None:
        """Close with this code, or CUT."""
        if not self._end.done():
            self._end.set_result(code)

    def forget(self, channel: Channel) -> None:
        """The channel is over; its topic may be joined again."""
        if self._channels.get(channel.topic) is channel:
            del self._channels[channel.topic]

    def send(self, frame: str | bytes) -> None:
        """Queue a frame; a slow client delays nobody else."""
        self._outbox.put_nowait(frame)

    def send_frame(self, topic: str, event: str, payload: str, *, ref: Any = None, join_ref: Any = None) -> None:
        """Queue a text frame in the socket's protocol version."""
        self.send(encode(self.version, topic, event, payload, ref=ref, join_ref=join_ref))

    async def _read(self) -> None:
        code = CUT
        try:
            while True:
                async with asyncio.timeout(self.stack.idle_timeout):
                    message = await self._connection.receive()
                if message["type"] == "websocket.disconnect":
                    break
                raw = message.get("text")
                push = decode(self.version, raw if raw is not None else message["bytes"])
                if push is not None:
                    await self._handle(push)
        except TimeoutError:
            code = 1000
        finally:
            self.end(code)

    async def _write(self) -> None:
        try:
            while True:
                frame = await self._outbox.get()
                if isinstance(frame, str):
                    await self._connection.send_text(frame)
                else:
                    await self._connection.send_bytes(frame)
        except WebSocketDisconnect:
            self.end(CUT)

    async def _handle(self, push: Push) -> None:
        channel = self._channels.get(push.topic)
        if push.event == "phx_join" and push.topic.startswith(PREFIX):
            await self._join(push, channel)
        elif channel is not None:
            await channel.handle(push)
        elif push.topic == "phoenix" and push.event == "heartbeat":
            self._reply(push, "ok", {})
        elif push.event == "phx_leave":
            self._reply(push, "ok", {}, join_ref=push.join_ref)
        else:
            self._reply(push, "error", {"reason": "unmatched topic"})

    async def _join(self, push: Push, before: Channel | None) -> None:
        """An earlier channel of the topic hears of its end after the reply to the new join, as on the real server."""
        try:
            (await self._admitted(push)).open()
        except Refused as refusal:
            await asyncio.sleep(self.stack.join_error_delay)
            self._reply(push, "error", {"reason": str(refusal)}, join_ref=push.join_ref)
        if before is not None:
            self.forget(before)
            before.close()

    async def _admitted(self, push: Push) -> Channel:
        request = read(push, self._token)
        try:
            channel = await admit(self, request)
        except LOST as error:
            raise Refused(_NO_DATABASE) from error
        self._channels[push.topic] = channel
        channel.reply(push, "ok", request.response)
        return channel

    def _reply(self, push: Push, status: str, response: dict[str, Any], *, join_ref: Any = None) -> None:
        payload = dumps({"status": status, "response": response})
        self.send_frame(push.topic, "phx_reply", payload, ref=push.ref, join_ref=join_ref)
