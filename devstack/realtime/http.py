"""`POST /api/broadcast`: broadcasts without a socket. Routes are given to the gateway by `RealtimeApi`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from devstack.realtime.access import rights
from devstack.realtime.joining import PREFIX
from devstack.realtime.protocol import UserMessage, dumps
from devstack.realtime.tokens import Identity, TokenError

if TYPE_CHECKING:
    from devstack.realtime.stack import Stack

_BLANK, _INVALID = "can't be blank", "is invalid"


class HttpBroadcast:
    """The two routes of the HTTP API (traces/realtime.md §1 "HTTP", trace 10)."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    async def many(self, request: Request) -> Response:
        """`{"messages":[{topic, event, payload, private?}]}`; 202 whether or not a private one may be sent."""
        identity = self._identity(request)
        if identity is None:
            return _unauthorized()
        body = await _body(request)
        problems = _problems(body)
        if problems:
            return _json(422, {"errors": {"messages": problems}})
        for message in body["messages"]:
            payload = {"event": message["event"], "payload": message["payload"], "type": "broadcast"}
            private = message.get("private") is True
            if await self._may_send(identity, message["topic"], private):
                self._stack.hub.broadcast(PREFIX + message["topic"], private, dumps(payload, sort=True))
        return Response(status_code=202)

    async def one(self, request: Request) -> Response:
        """`/api/broadcast/<topic>/events/<event>`: the body is the payload, relayed byte by byte."""
        identity = self._identity(request)
        if identity is None:
            return _unauthorized()
        topic = request.path_params["topic"]
        private = request.query_params.get("private") == "true"
        if await self._may_send(identity, topic, private):
            message = UserMessage(request.path_params["event"], await request.body())
            self._stack.hub.broadcast(PREFIX + topic, private, message)
        return Response(status_code=202)

    def _identity(self, request: Request) -> Identity | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        key = token if scheme.lower() == "bearer" else request.headers.get("apikey", "")
        try:
            return self._stack.verify(self._stack.keys.exchange(key))
        except TokenError:
            return None

    async def _may_send(self, identity: Identity, topic: str, private: bool) -> bool:
        return not private or (await rights(self._stack.caller, identity, topic)).write


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body())
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _problems(body: dict[str, Any]) -> list[Any]:
    messages = body.get("messages")
    if not messages:
        return [_BLANK]
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        return [_INVALID]
    found = [_problems_of(message) for message in messages]
    return found if any(found) else []


def _problems_of(message: dict[str, Any]) -> dict[str, list[str]]:
    kinds: dict[str, type] = {"topic": str, "event": str, "payload": dict}
    problems = {}
    for key, kind in kinds.items():
        value = message.get(key)
        if value is None or value == "":
            problems[key] = [_BLANK]
        elif not isinstance(value, kind):
            problems[key] = [_INVALID]
    return problems


def _unauthorized() -> Response:
    return _json(401, {"message": "Unauthorized"})


def _json(status: int, body: object) -> Response:
    return JSONResponse(body, status, media_type="application/json; charset=utf-8")
