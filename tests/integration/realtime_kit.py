"""What the Realtime tests share: the tables of the recordings, a served stand-in, raw sockets, tokens."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import jwt
import uvicorn
from realtime import AsyncRealtimeChannel, AsyncRealtimeClient
from realtime.types import RealtimeSubscribeStates
from starlette.applications import Starlette
from starlette.routing import Mount
from websockets.asyncio.client import ClientConnection, connect

from devstack.keys import Keys
from devstack.postgres import Postgres
from devstack.realtime import RealtimeApi

JOBS, WORKERS = "workflow_generation_jobs", "workflow_workers"
USER_A, USER_B = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa", "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
TABLES = f"""
create table public.{JOBS} (id text primary key, user_id uuid, status text, prompt_text text, config jsonb,
  numeric_col numeric, flag bool, tags text[], created_at timestamptz default now(), finished_at timestamptz,
  n bigint, f float8, raw bytea);
create table public.{WORKERS} (worker_id text primary key, last_seen_at timestamptz);
create table public.not_published (id text primary key);
alter table public.{JOBS} enable row level security;
create policy own on public.{JOBS} for all to authenticated using (auth.uid() = user_id);
grant all on public.{JOBS}, public.{WORKERS} to authenticated, service_role;
alter publication supabase_realtime add table public.{JOBS}, public.{WORKERS};
"""
FAST: dict[str, Any] = {
    "poll_busy": 0.01, "poll_idle": 0.02, "handshake_delay": 0.0, "join_error_delay": 0.05,
    "resubscribe_delay": (0.0, 0.01),
}  # fmt: skip


class Served:
    """A stand-in behind a real uvicorn on a free port."""

    def __init__(self, api: RealtimeApi, port: int, keys: Keys) -> None:
        self.api, self.port, self.keys = api, port, keys

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}/realtime/v1"

    def dial(self, token: str, vsn: str = "1.0.0") -> connect:
        return connect(f"ws://127.0.0.1:{self.port}/realtime/v1/websocket?apikey={token}&vsn={vsn}", max_size=None)

    @asynccontextmanager
    async def wire(self, token: str | None = None) -> AsyncIterator[Wire]:
        """A raw protocol 1 socket; service_role unless told otherwise."""
        async with self.dial(token or self.keys.service_role) as connection:
            yield Wire(connection)

    @asynccontextmanager
    async def client(self, token: str | None = None) -> AsyncIterator[AsyncRealtimeClient]:
        """The official client; service_role unless told otherwise."""
        client = AsyncRealtimeClient(self.http, token or self.keys.service_role, auto_reconnect=False)
        try:
            yield client
        finally:
            await asyncio.wait_for(client.close(), 12)


@asynccontextmanager
async def serve(postgres: Postgres, keys: Keys, **options: Any) -> AsyncIterator[Served]:
    api = RealtimeApi(postgres.url, keys, **{**FAST, **options})
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    app = Starlette(routes=[Mount("/realtime/v1", routes=api.routes)])
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws_per_message_deflate=False,
                                           ws_max_size=5_000_000, ws_ping_interval=None))  # fmt: skip
    await api.start()
    serving = asyncio.create_task(server.serve([listening]))
    try:
        yield Served(api, listening.getsockname()[1], keys)
    finally:
        await api.stop()
        server.should_exit = True
        await asyncio.wait_for(serving, 10)


class Wire:
    """A version 1 socket that remembers what it heard."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.heard: list[dict[str, Any]] = []

    async def push(self, topic: str, event: str, payload: Any, ref: str = "9") -> None:
        frame = {"topic": topic, "event": event, "payload": payload, "ref": ref}
        await self.connection.send(json.dumps(frame))

    async def until(self, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The next frame that is wanted; the others are remembered in `heard`, too."""
        async with asyncio.timeout(15):
            while True:
                frame = json.loads(await self.connection.recv())
                self.heard.append(frame)
                if wanted(frame):
                    return dict(frame)

    async def event(self, name: str) -> dict[str, Any]:
        return await self.until(lambda frame: frame["event"] == name)

    async def join(self, topic: str, *bindings: dict[str, Any], private: bool = False, **more: Any) -> dict[str, Any]:
        """Join; with bindings also wait for the system message. Returns the last frame."""
        config = {"postgres_changes": list(bindings), "private": private, "broadcast": more.pop("broadcast", {})}
        await self.push(topic, "phx_join", {"config": config, **more}, ref="1")
        reply = await self.event("phx_reply")
        return await self.event("system") if bindings and reply["payload"]["status"] == "ok" else reply

    async def changes(self, count: int) -> list[dict[str, Any]]:
        return [(await self.event("postgres_changes"))["payload"]["data"] for _ in range(count)]

    async def quiet(self) -> list[dict[str, Any]]:
        """What came before the answer to a heartbeat."""
        before = len(self.heard)
        await self.push("phoenix", "heartbeat", {}, ref="quiet")
        await self.until(lambda frame: frame["ref"] == "quiet")
        return self.heard[before:-1]


class Doorbell:
    """Collects what a callback of the official client hears."""

    def __init__(self) -> None:
        self.rings: asyncio.Queue[Any] = asyncio.Queue()

    def __call__(self, payload: Any) -> None:
        self.rings.put_nowait(payload)

    async def next(self) -> Any:
        return await asyncio.wait_for(self.rings.get(), 15)


class Joined:
    """A channel of the official client, subscribed and (with bindings) ready."""

    def __init__(self, channel: AsyncRealtimeChannel, *, ready: bool) -> None:
        self.channel, self._ready = channel, ready
        self.states: asyncio.Queue[RealtimeSubscribeStates] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        system = Doorbell()
        self.channel.on_system(system)
        await self.channel.subscribe(lambda state, _error: self.states.put_nowait(state))
        assert await asyncio.wait_for(self.states.get(), 15) is RealtimeSubscribeStates.SUBSCRIBED
        if self._ready:
            await system.next()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        at: TracebackType | None) -> None:  # fmt: skip
        await self.channel.unsubscribe()


def token(keys: Keys, name: str) -> str:
    """The token that a recording calls by this name."""
    claims = {"iss": "devstack", "role": "authenticated", "sub": USER_A, "exp": int(time.time()) + 3600}
    odd: dict[str, dict[str, Any]] = {
        "expired": {**claims, "exp": int(time.time()) - 60},
        "no-role": {key: claims[key] for key in ("sub", "exp")},
        "no-exp": {key: claims[key] for key in ("sub", "role")},
        "exp-string": {**claims, "exp": "tomorrow"},
        "unknown-role": {**claims, "role": "nosuch_role"},
        "user-a": claims,
        "user-a-2": {**claims, "session": 2},
        "user-b": {**claims, "sub": USER_B},
        "service_role-2": {**claims, "role": "service_role", "session": 2},
    }
    if name.startswith("ttl-8s"):
        return keys.user_token(USER_A, expires_in=2)
    if name == "bad-signature":
        return jwt.encode(claims, "another secret of thirty-two bytes", algorithm="HS256")
    return jwt.encode(odd[name], keys.jwt_secret, algorithm="HS256") if name in odd else keys.token(name)
