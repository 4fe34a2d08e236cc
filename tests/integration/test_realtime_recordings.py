"""The stand-in says what Realtime v2.129.8 was recorded to say: frames, their order, HTTP answers, close codes.

Masked: binding ids (must map one to one), UUIDs of messages, times that are "now", seconds since expiry.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from devstack.keys import Keys
from devstack.postgres import Postgres
from devstack.realtime.protocol import UserMessage
from tests.integration.realtime_kit import JOBS, TABLES, USER_A, USER_B, WORKERS, Served, serve, token

RECORDINGS = sorted((Path(__file__).parents[1] / "recordings" / "realtime").glob("*.jsonl"))
EXCERPTS = ("10_", "12_", "18_")  # copies of one event to further receivers were left out
OPTIONS: dict[str, dict[str, Any]] = {"14": {"cold_start": (0.3, 0.4)}, "08c": {"join_error_delay": 0.5}}
NO_POLLS = {"poll_busy": 3600.0, "poll_idle": 3600.0}  # the player polls, so that no race decides what a poll sees
COLUMNS = [("id", "text"), ("user_id", "uuid"), ("status", "text"), ("prompt_text", "text"), ("config", "jsonb"),
           ("numeric_col", "numeric"), ("flag", "bool"), ("tags", "_text"), ("created_at", "timestamptz"),
           ("finished_at", "timestamptz"), ("n", "int8"), ("f", "float8"), ("raw", "bytea")]  # fmt: skip
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(Z|\+00:00)")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
RECORDED = datetime(2026, 11, 23, 14, tzinfo=UTC)
Step = dict[str, Any]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        server.psql(TABLES)
        yield server


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
async def test_a_recorded_conversation_repeats_word_for_word(postgres: Postgres, recording: Path) -> None:
    steps = [loads(line) for line in recording.read_text().strip().split("\n")]
    options = next((value for prefix, value in OPTIONS.items() if recording.stem.startswith(prefix)), {})
    postgres.psql(f"truncate public.{JOBS}, public.{WORKERS}; drop trigger if exists jobs_bell on public.{JOBS}")
    async with (
        serve(postgres, Keys.fresh(), **NO_POLLS, **options) as served,
        Player(served, postgres, recording.stem).playing() as player,
    ):
        for block in blocks(steps):
            await player.play(block)


class Player:
    """Plays one recording: sends, executes, and compares what comes back, connection by connection."""

    def __init__(self, served: Served, postgres: Postgres, name: str) -> None:
        self.served, self.postgres, self.name = served, postgres, name
        self.vsn = "2.0.0" if name.endswith("_v2") else "1.0.0"
        self.excerpt = name.startswith(EXCERPTS)
        self.tokens: dict[str, str] = {}
        self.sockets: dict[str, Ear] = {}
        self.sessions: dict[str, asyncpg.Connection[asyncpg.Record]] = {}
        self.labels: dict[bool, dict[int, str]] = {True: {}, False: {}}
        self.cleanup = AsyncExitStack()

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[Player]:
        async with self.cleanup:
            yield self

    async def play(self, block: list[Step]) -> None:
        match block[0]["dir"]:
            case "send":
                await self.send(await self.ear(block[0].get("conn", "")), block[0]["frame"])
            case "recv":
                if "commit_timestamp" in str(block):
                    await self.served.api.capture.poll()
                for conn in dict.fromkeys(step.get("conn", "") for step in block):
                    await self.hear(conn, [step["frame"] for step in block if step.get("conn", "") == conn])
            case "sql":
                await self.execute(block[0].get("conn", ""), block[0]["frame"])
            case "http":
                await self.request(block[0].get("conn", ""), block[0]["frame"])
            case "close":
                await self.close(block[0].get("conn", ""), block[0]["frame"])

    async def send(self, ear: Ear, frame: Any) -> None:
        too_big = re.fullmatch(r"<… (\d+) chars>", frame.get("text", "")) if isinstance(frame, dict) else None
        if too_big:  # the header tells the size; sending the rest would race with the server's close
            ear.connection.transport.write(bytes([0x81, 0xFF]) + int(too_big[1]).to_bytes(8, "big") + bytes(4))
        else:
            await ear.connection.send(self.outgoing(frame))

    async def hear(self, conn: str, expected: list[Any]) -> None:
        """Per topic, frames come in the recorded order; topics may overtake each other, replies may not."""
        wanted = [self.normal(frame, recorded=True) for frame in expected]
        got: list[Any] = []
        while len(got) < len(wanted):
            frame = self.normal(await self.sockets[conn].next(wanted, got), recorded=False)
            if not self.excerpt or frame in wanted:
                got.append(frame)
        for order in (topic_of, replies_of):
            for key in {order(frame) for frame in wanted} - {None}:
                assert [f for f in got if order(f) == key] == [f for f in wanted if order(f) == key]

    async def execute(self, conn: str, sql: str) -> None:
        if conn not in self.sessions:
            self.sessions[conn] = await asyncpg.connect(self.postgres.url("postgres"))
            self.cleanup.push_async_callback(self.sessions[conn].close)
        await self.sessions[conn].execute(sql)

    async def request(self, conn: str, wanted: dict[str, Any]) -> None:
        method, path = self.filled(wanted["request"]).split(" ", 1)
        path = path.removeprefix("/socket")
        headers = {name: self.filled(value) for name, value in wanted.get("request_headers", {}).items()}
        if method == "GET":
            await self.dial(conn, path, headers, wanted)
            return
        async with httpx.AsyncClient() as client:
            body = {"json": wanted["request_body"]}
            answer = await client.post(self.served.http + path, headers=headers, **body)
        assert (answer.status_code, answer.text) == (wanted["status"], wanted["body"])

    async def dial(self, conn: str, path: str, headers: dict[str, str], wanted: dict[str, Any]) -> None:
        url = self.served.http.replace("http", "ws", 1) + path
        opening = connect(url, additional_headers=headers, max_size=None, open_timeout=10)
        if wanted["status"] == 101:
            self.sockets[conn] = Ear(await self.cleanup.enter_async_context(opening))
            assert not self.sockets[conn].connection.protocol.extensions  # deflate is offered and not taken
            return
        with pytest.raises(InvalidStatus) as refusal:
            await opening.__aenter__()
        response = refusal.value.response
        assert (response.status_code, response.body.decode()) == (wanted["status"], wanted["body"])
        assert wanted["body"] == "" or response.headers["content-type"] == "application/json; charset=utf-8"

    async def close(self, conn: str, wanted: dict[str, Any]) -> None:
        ear = self.sockets.pop(conn)
        if wanted["by"] == "client":
            assert self.excerpt or await ear.rest(self.vsn_of(ear)) == []
            await ear.connection.close()
        else:
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(ear.connection.recv(), 10)
        assert ear.connection.close_code == wanted["code"]

    async def ear(self, conn: str) -> Ear:
        """The socket of this name; recordings that left the handshake out used the service key."""
        if conn not in self.sockets:
            opening = self.served.dial(self.served.keys.service_role, self.vsn)
            self.sockets[conn] = Ear(await self.cleanup.enter_async_context(opening))
        return self.sockets[conn]

    def vsn_of(self, ear: Ear) -> str:
        return "2.0.0" if ear.connection.request and "vsn=2.0.0" in ear.connection.request.path else "1.0.0"

    def outgoing(self, frame: Any) -> str | bytes:
        if isinstance(frame, dict) and "hex" in frame:
            return bytes.fromhex(frame["hex"])
        if isinstance(frame, dict) and set(frame) == {"text"}:
            return str(frame["text"])
        return self.filled(json.dumps(frame, ensure_ascii=False))

    def filled(self, text: str) -> str:
        return re.sub(r"<jwt:([^>]+)>", lambda m: self.token(m[1]), text)

    def token(self, name: str) -> str:
        return self.tokens.setdefault(name, token(self.served.keys, name))

    def normal(self, frame: Any, *, recorded: bool) -> str:
        """A frame as comparable text: key order and number literals stay, what differs by nature is masked."""
        if isinstance(frame, dict) and "hex" in frame:
            frame = broadcast_frame(bytes.fromhex(frame["hex"]))
        elif isinstance(frame, bytes):
            frame = broadcast_frame(frame)
        frame = walk(self.labelled(frame, self.labels[recorded]), lambda value: self.mask(value, recorded=recorded))
        return re.sub(r"expired \d+ seconds", "expired N seconds", json.dumps(frame, ensure_ascii=False))

    def labelled(self, value: Any, labels: dict[int, str]) -> Any:
        """Binding ids replaced by the binding they were given to, which the join's reply tells."""
        if isinstance(value, list):
            return [self.labelled(inner, labels) for inner in value]
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("id"), int):
            assert 0 <= value["id"] < 2**27
            label = json.dumps({key: value[key] for key in value if key != "id"})
            assert labels.setdefault(value["id"], label) == label
            value = {**value, "id": label}
        if "ids" in value and "data" in value:
            value = {**value, "ids": [labels[number] for number in value["ids"]]}
        return {key: self.labelled(inner, labels) for key, inner in value.items()}

    def mask(self, value: Any, *, recorded: bool) -> Any:
        if value == "<… 13 columns as in trace 01>":
            return [{"name": name, "type": kind} for name, kind in COLUMNS]
        if not isinstance(value, str):
            return value
        if not recorded and len(value) > 2000:
            value = f"{value[:40]}<… {len(value)} chars>"
        value = UUID.sub(lambda m: m[0] if m[0] in (USER_A, USER_B) else "<uuid>", value)
        return TIME.sub(lambda m: masked_time(m, recorded=recorded), value)


class Ear:
    """One connection and what it said that nobody asked for yet."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def next(self, wanted: list[str], got: list[str]) -> Any:
        try:
            raw = await asyncio.wait_for(self.connection.recv(), 10)
        except TimeoutError:
            missing = [frame for frame in wanted if frame not in got]
            pytest.fail(f"still waiting for {missing[0][:900] if missing else wanted}\ngot {[g[:400] for g in got]}")
        return loads(raw) if isinstance(raw, str) else raw

    async def rest(self, vsn: str) -> list[Any]:
        """Frames that come although the recording has no more."""
        beat = {"topic": "phoenix", "event": "heartbeat", "payload": {}, "ref": "last"}
        await self.connection.send(json.dumps([None, "last", "phoenix", "heartbeat", {}] if vsn == "2.0.0" else beat))
        more: list[Any] = []
        while '"last"' not in str(raw := await asyncio.wait_for(self.connection.recv(), 10)):
            more.append(raw)
        return more


class Number(float):
    """A float that remembers its literal."""

    literal: str

    def __new__(cls, literal: str) -> Number:
        self = super().__new__(cls, literal)
        self.literal = literal
        return self


def loads(text: str) -> Any:
    return json.loads(text, parse_float=Number)


def blocks(steps: list[Step]) -> Iterator[list[Step]]:
    """Frames received in a row belong together, because connections do not wait for each other."""
    heard: list[Step] = []
    for step in steps:
        if step["dir"] == "recv":
            heard.append(step)
            continue
        if heard:
            yield heard
            heard = []
        yield [step]
    if heard:
        yield heard


def walk(value: Any, change: Any) -> Any:
    if isinstance(value, dict):
        return {key: walk(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [walk(inner, change) for inner in value]
    return f"number {value.literal}" if isinstance(value, Number) else change(value)


def masked_time(match: re.Match[str], *, recorded: bool) -> str:
    at = datetime.fromisoformat(match[0])
    start = RECORDED if recorded else datetime.now(UTC) - timedelta(minutes=10)
    return f"<now {match[1]}>" if start <= at < start + timedelta(hours=2) else match[0]


def broadcast_frame(raw: bytes) -> dict[str, Any]:
    """A binary frame of type 4 in readable parts."""
    assert raw[0] == 4
    topic, event, meta = raw[1:4]
    body = raw[5:]
    message = UserMessage(body[topic : topic + event].decode(), body[topic + event + meta :], raw[4],
                          body[topic + event : topic + event + meta].decode())  # fmt: skip
    payload = message.payload.decode("latin-1")
    return {"topic": body[:topic].decode(), "binary": [message.event, message.meta, message.encoding, payload]}


def topic_of(frame: str) -> str | None:
    found = re.search(r'"(realtime:[^"]*|phoenix)"', frame)
    return found[1] if found else None


def replies_of(frame: str) -> str | None:
    return "phx_reply" if '"phx_reply"' in frame else None
