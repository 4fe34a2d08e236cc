"""The stand-in's outside: routes for the gateway that makes it, start and stop, and faults for tests to switch on."""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from devstack.keys import Keys
from devstack.realtime.capture import Capture, Habits
from devstack.realtime.database import DsnOf, Session
from devstack.realtime.feed import Feed
from devstack.realtime.http import HttpBroadcast
from devstack.realtime.hub import Hub
from devstack.realtime.protocol import VERSIONS
from devstack.realtime.slot import Pace
from devstack.realtime.socket import CUT, Socket
from devstack.realtime.stack import Stack
from devstack.realtime.tokens import TokenError

RESTARTING = 1012


class RealtimeApi:
    """Realtime in front of one PostgreSQL.

    `dsn_of(login)` gives the connection URL of a login role; `supabase_admin` and `authenticator` are used. Times in
    seconds; the defaults are the real server's (traces/realtime.md §1), but for two: `cold_start` is the range from
    which the first subscriber's wait for capture is drawn, None: no wait; `event_limit` is the most change events per
    second (there 100), None: no limit.
    """

    def __init__(
        self, dsn_of: DsnOf, keys: Keys, *,
        poll_busy: float = 0.1, poll_idle: float = 0.5, cold_start: tuple[float, float] | None = None,
        handshake_delay: float = 2.0, join_error_delay: float = 5.0, idle_timeout: float = 60.0,
        resubscribe_delay: tuple[float, float] = (1.0, 3.0), give_up: float = 98.0, publication_tick: float = 60.0,
        event_limit: float | None = None,
    ) -> None:  # fmt: skip
        self._hub = Hub()
        self._admin = Session(dsn_of, "supabase_admin")
        caller = Session(dsn_of, "authenticator")
        pace = Pace(poll_busy, poll_idle, cold_start, give_up)
        self.capture = Capture(dsn_of, self._admin, caller, pace, Habits(event_limit, publication_tick))
        self._away = False
        feed = Feed(dsn_of, self._hub)
        self._stack = Stack(keys, self._hub, caller, self.capture, feed,
                            handshake_delay, join_error_delay, idle_timeout, resubscribe_delay)  # fmt: skip
        http = HttpBroadcast(self._stack)
        self.routes: list[BaseRoute] = [
            WebSocketRoute("/websocket", self._websocket),
            Route("/api/broadcast", http.many, methods=["POST"]),
            Route("/api/broadcast/{topic}/events/{event}", http.one, methods=["POST"]),
        ]

    @property
    def deaf(self) -> bool:
        """The fault "joined, but nothing is delivered any more"; heartbeats and joins go on."""
        return self._hub.deaf_to_changes and self._hub.deaf_to_broadcasts

    @deaf.setter
    def deaf(self, value: bool) -> None:
        self.deafen(changes=value, broadcasts=value)

    def deafen(self, *, changes: bool = False, broadcasts: bool = False) -> None:
        """The same fault for one of the two doorbells; the other one, when not named, is heard (again)."""
        self._hub.deaf_to_changes, self._hub.deaf_to_broadcasts = changes, broadcasts

    async def go_away(self) -> None:
        """The fault "Realtime is down, REST is not": sockets are closed with 1012, new ones refused with HTTP 503."""
        self._away = True
        await self.drop_all(RESTARTING)

    def come_back(self) -> None:
        """The end of that fault."""
        self._away = False

    async def start(self) -> None:
        """Listen for broadcasts from SQL; a PostgreSQL that is not up yet is waited for in the background."""
        self._stack.feed.start()

    async def stop(self) -> None:
        """Close all sockets with 1012, all tasks and all database sessions."""
        await self.drop_all(RESTARTING)
        await self.capture.stop()
        await self._stack.feed.stop()
        await self._admin.close()
        await self._stack.caller.close()

    async def drop_all(self, code: int | None) -> None:
        """Close every socket with this code; None cuts the TCP connections instead (clients see 1006)."""
        sockets = list(self._hub.sockets)
        for socket in sockets:
            socket.end(CUT if code is None else code)
        await asyncio.gather(*(socket.ended.wait() for socket in sockets))

    async def _websocket(self, connection: WebSocket) -> None:
        if self._away:
            await connection.send_denial_response(Response(status_code=503))
            return
        version = VERSIONS.get(connection.query_params.get("vsn"))
        if version is None:
            await connection.send_denial_response(Response(status_code=403))
            return
        key = connection.headers.get("x-api-key") or connection.query_params.get("apikey")
        token = self._stack.keys.exchange(key or "")
        try:
            self._stack.verify(token)
        except TokenError as error:
            await asyncio.sleep(self._stack.handshake_delay)
            reason = error.handshake if key else "API key is missing"
            media = "application/json; charset=utf-8"
            await connection.send_denial_response(JSONResponse({"error": reason}, 401, media_type=media))
            return
        await connection.accept()
        await Socket(self._stack, connection, version, token).run()
