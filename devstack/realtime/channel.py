"""One joined channel of one socket: its identity, its subscription, its broadcasts, its end. Used by `socket`."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

from devstack.realtime.access import Rights, rights
from devstack.realtime.bindings import BindingError, parse
from devstack.realtime.database import LOST
from devstack.realtime.hub import Message
from devstack.realtime.protocol import Push, UserMessage, dumps
from devstack.realtime.tokens import Identity, TokenError, expired

if TYPE_CHECKING:
    from devstack.realtime.joining import JoinRequest
    from devstack.realtime.socket import Socket

MAX_BROADCAST_BYTES = 3_072_000
SUBSCRIBED = "Subscribed to PostgreSQL"
FEED_READY = "Replication connection established"


class Channel:
    """Made by an accepted join; `leave`, a bad token, expiry, a second join or the socket's end stop it."""

    def __init__(self, socket: Socket, request: JoinRequest, identity: Identity, allowed: Rights) -> None:
        self.topic = request.topic
        self.private = request.private
        self.hears_itself = request.hears_itself
        self.join_ref = request.push.join_ref
        self._request = request
        self._socket = socket
        self._stack = socket.stack
        self._identity = identity
        self._token = request.token
        self._allowed = allowed
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._expiry: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Begin to hear: broadcasts at once, changes when PostgreSQL is ready for them."""
        self._stack.hub.add(self)
        self._expire_at(self._identity.expires)
        if self._request.bindings:
            self._stack.capture.hold(self)  # at once, so that a second join of a topic keeps the slot of the first
            self.resubscribe()
        if self._request.wants_feed_ready:
            self._spawn("feed", self._announce_feed())
        if self._request.wants_presence:
            self._send("presence_state", "{}", join_ref=self.join_ref)

    def stop(self) -> None:
        """Hear nothing any more, without a word to the client."""
        self._stack.hub.remove(self)
        self._stack.capture.unsubscribe(self)
        if self._expiry is not None:
            self._expiry.cancel()
        for task in self._tasks.values():
            task.cancel()

    def close(self) -> None:
        """Stop and say so: `phx_close` carries the ref of the join."""
        self.stop()
        self._send("phx_close", "{}", ref=self._request.push.ref, join_ref=self.join_ref)

    async def handle(self, push: Push) -> None:
        """React to a push on this topic; unknown events get no answer."""
        if push.join_ref not in (None, self.join_ref):
            return
        if push.event == "phx_leave":
            self._socket.forget(self)
            self.reply(push, "ok", {})
            self.close()
        elif push.event == "broadcast":
            self._broadcast(push)
        elif push.event == "access_token" and isinstance(push.payload, dict):
            await self._renew(push.payload.get("access_token"))

    def reply(self, push: Push, status: str, response: object) -> None:
        """Answer a push."""
        payload = dumps({"status": status, "response": response})
        self._send("phx_reply", payload, ref=push.ref, join_ref=self.join_ref)

    def deliver(self, message: Message) -> None:
        """A broadcast of somebody on the topic, or of the database."""
        if self._stack.hub.deaf_to_broadcasts:
            return
        if isinstance(message, UserMessage) and self._socket.version == 2:
            self._socket.send(message.as_bytes(self.topic))
            return
        payload = message.as_json() if isinstance(message, UserMessage) else message
        if payload is not None:
            self._send("broadcast", payload)

    def resubscribe(self) -> None:
        """Subscribe to changes again, as the same role and to the same bindings; the client is told the outcome."""
        self._spawn("subscribe", self._subscribe(0.0))

    def _on_change(self, kind: str, data: str, ids: list[int]) -> None:
        if self._stack.hub.deaf_to_changes:
            return
        if self._request.old_api:
            self._send(kind, data)
        else:
            self._send("postgres_changes", f'{{"data":{data},"ids":{dumps(ids)}}}')

    def _broadcast(self, push: Push) -> None:
        if not self._allowed.write:
            return
        message = push.payload if isinstance(push.payload, UserMessage) else dumps(push.payload, sort=True)
        size = len(message.payload if isinstance(message, UserMessage) else message.encode())
        fits = size <= MAX_BROADCAST_BYTES
        if fits:
            self._stack.hub.broadcast(self.topic, self.private, message, sender=self)
        if self._request.wants_ack:
            self.reply(push, *(("ok", {}) if fits else ("error", "payload_size_exceeded")))

    async def _renew(self, token: object) -> None:
        if not isinstance(token, str) or token.startswith("sb_") or token == self._token:
            return
        try:
            self._identity = self._stack.verify(token)
        except TokenError as error:
            self._fail(error.live)
            return
        self._token = token
        self._expire_at(self._identity.expires)
        if self.private:
            self._allowed = await rights(self._stack.caller, self._identity, self._request.name)
        if self._request.bindings:
            self._spawn("subscribe", self._subscribe(random.uniform(*self._stack.resubscribe_delay)))

    async def _subscribe(self, delay: float) -> None:
        identity = self._identity
        await asyncio.sleep(delay)
        while True:
            try:
                bindings = [parse(params) for params in self._request.bindings]
                await self._stack.capture.subscribe(self, identity, bindings, self._on_change)
            except BindingError as error:
                self._stack.capture.unsubscribe(self)
                self._system(str(error), "error", "postgres_changes")
                return
            except LOST:
                await asyncio.sleep(random.uniform(*self._stack.resubscribe_delay))
            else:
                self._system(SUBSCRIBED, "ok", "postgres_changes")
                return

    async def _announce_feed(self) -> None:
        await self._stack.feed.ready.wait()
        self._system(FEED_READY, "ok", "system")

    def _expire_at(self, expires: float) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        wait = max(0.0, expires - time.time())
        self._expiry = asyncio.get_running_loop().call_later(wait, self._fail, expired(0))

    def _fail(self, reason: str) -> None:
        self._socket.forget(self)
        self._system(reason, "error", "system")
        self.close()

    def _system(self, message: str, status: str, extension: str) -> None:
        payload = {"message": message, "status": status, "extension": extension, "channel": self._request.name}
        self._send("system", dumps(payload), join_ref=self.join_ref)

    def _send(self, event: str, payload: str, *, ref: Any = None, join_ref: Any = None) -> None:
        self._socket.send_frame(self.topic, event, payload, ref=ref, join_ref=join_ref)

    def _spawn(self, name: str, work: Any) -> None:
        if name in self._tasks:
            self._tasks[name].cancel()
        self._tasks[name] = asyncio.create_task(work)
