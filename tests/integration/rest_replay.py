"""What the REST tests share: the recorded project, a bare API without a gateway, and the tokens of the recordings."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
from starlette.applications import Starlette

from devstack.keys import Keys
from devstack.postgres import Postgres
from devstack.rest import RestApi

RECORDINGS = Path(__file__).parents[1] / "recordings" / "postgrest"
SETUP = (RECORDINGS / "setup.sql").read_text()
RESET = (RECORDINGS / "reset.sql").read_text()
U1 = "11111111-1111-4111-8111-111111111111"
KEYS = Keys.fresh()


@asynccontextmanager
async def bare_client(server: Postgres, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client that reaches a RestApi in this process without a socket, and sends no headers of its own."""
    api = RestApi(server.url("authenticator"), KEYS.jwt_secret, **options)
    await api.start()
    transport = httpx.ASGITransport(app=Starlette(routes=api.routes))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://rest", timeout=30) as client:
            client.headers.clear()
            yield client
    finally:
        await api.stop()


def bearer(role: str = "service_role", **claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS.token(role, **claims)}"}


def authorization(recorded: str) -> str:
    """A real header for what the recorder wrote in place of one, such as `Bearer <jwt exp=now-40>`."""
    scheme, _, rest = recorded.partition(" ")
    found = re.fullmatch(r"<jwt(.*)>", rest)
    return f"{scheme} {_token(found[1].strip(' ,'))}" if found else recorded


def _token(described: str) -> str:
    now = int(time.time())
    claims: dict[str, Any] = {"role": "service_role", "exp": now + 3600}
    match described.split(" "):
        case ["wrong", "key"]:
            return jwt.encode(claims, "another secret of sufficient length", algorithm="HS256")
        case ["tampered", "payload"]:
            head, _, signature = jwt.encode(claims, KEYS.jwt_secret, algorithm="HS256").split(".")
            payload = base64.urlsafe_b64encode(json.dumps({**claims, "sub": U1}).encode()).rstrip(b"=").decode()
            return f"{head}.{payload}.{signature}"
        case ["without", "role"]:
            del claims["role"]
        case [*pairs] if described:
            return _encoded(claims, dict(pair.split("=", 1) for pair in pairs), now)
    return jwt.encode(claims, KEYS.jwt_secret, algorithm="HS256")


def _encoded(claims: dict[str, Any], changes: Mapping[str, str], now: int) -> str:
    algorithm = changes.get("alg", "HS256")
    for name, text in changes.items():
        if offset := re.fullmatch(r"now([+-]\d+)", text):
            claims[name] = now + int(offset[1])
        elif name != "alg":
            claims[name] = text.strip('"')
    if changes.get("role") == "service_role":
        claims["iss"] = "supabase"
    if changes.get("role") == "authenticated":
        claims["aud"] = "authenticated"
    return jwt.encode(claims, "" if algorithm == "none" else KEYS.jwt_secret, algorithm=algorithm)
