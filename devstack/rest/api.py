"""The HTTP face of the REST half: one request in, one transaction, one answer out. Called by `devstack.gateway`."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import parse_qsl

from starlette import requests
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.types import Receive, Scope, Send

from devstack.rest import plans, query, writes
from devstack.rest.auth import Caller, authenticate
from devstack.rest.cache import SchemaCache
from devstack.rest.database import Database, Session
from devstack.rest.errors import RestError
from devstack.rest.openapi import describe
from devstack.rest.plans import FORM, READS, Plan, Request
from devstack.rest.prefer import parse_prefer
from devstack.rest.respond import check, respond

METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE"})
CALLS = frozenset({"GET", "HEAD", "POST"})
ONLY_PUBLIC = "Only the following schemas are exposed: public"


class RestApi:
    """A PostgREST stand-in for schema `public` of one database; serves `/`, `/{table}` and `/rpc/{function}`.

    `dsn` is the URL of the login role `authenticator`, `max_rows` what one answer holds at most, `pool_timeout` the
    seconds that a request waits for one of `pool_size` connections.
    """

    def __init__(
        self, dsn: str, jwt_secret: str, *, max_rows: int = 1000, pool_size: int = 10, pool_timeout: float = 10.0
    ) -> None:
        self._database = Database(dsn, pool_size=pool_size, pool_timeout=pool_timeout)
        self._secret = jwt_secret
        self._max_rows = max_rows
        self.routes: list[BaseRoute] = [Mount("/", app=self._serve)]

    async def start(self) -> None:
        """Begin to serve. PostgreSQL may still be away: requests get 503 PGRST002 until it is there."""
        await self._database.start()

    async def stop(self) -> None:
        """Drop all connections; what runs is rolled back."""
        await self._database.stop()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(requests.Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, http: requests.Request) -> Response:
        try:
            caller = authenticate(http.headers.get("authorization"), self._secret)
            cache = self._database.cache
            path = http.scope["path"].removeprefix(http.scope.get("root_path", ""))
            if path == "/" and http.method in READS:
                return describe(cache)
            return await self._run(http, caller, cache, path)
        except RestError as error:
            return error.response()
        except requests.ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        except UnicodeDecodeError:
            return Response("Something went wrong", 500, {"Content-Type": "text/plain; charset=utf-8"})

    async def _run(self, http: requests.Request, caller: Caller, cache: SchemaCache, path: str) -> Response:
        name, is_call = _resource(path, http.method)
        profile = _profile(http)
        parameters = query.pairs(http.scope["query_string"])
        request = await _request(http, name, parameters, is_call=is_call)
        plan = _planner(request, is_call=is_call)(request, cache, self._max_rows)
        extra = {"Content-Profile": "public"} if profile else {}
        if plan.kind == "read":
            extra = {"Content-Location": query.location(path, parameters), **extra}
        session = _session(http, caller, cache, plan, path)
        row = await self._database.run(session, plan.text, plan.values, lambda row: check(request, plan, row))
        return respond(request, plan, row, extra)


def _resource(path: str, method: str) -> tuple[str, bool]:
    """The table or function that a path names, and whether it is a function."""
    if method not in METHODS and not (path.startswith("/rpc/") and method == "PUT"):
        raise RestError(405, "PGRST117", f"Unsupported HTTP method: {method}")
    match path.split("/")[1:]:
        case ["rpc", name]:
            if method not in CALLS:
                raise RestError(405, "PGRST101", f"Cannot use the {method} method on RPC")
            return name, True
        case [name] if name:
            return name, False
    raise RestError(404, "PGRST125", "Invalid path specified in request URL")


def _profile(http: requests.Request) -> bool:
    """Whether a schema was named; it must be `public`."""
    named = http.headers.get("accept-profile" if http.method in READS else "content-profile")
    if named not in (None, "public"):
        raise RestError(406, "PGRST106", f"Invalid schema: {named}", None, ONLY_PUBLIC)
    return named is not None


async def _request(http: requests.Request, name: str, parameters: list[tuple[str, str]], *, is_call: bool) -> Request:
    is_read = http.method in READS
    asked = query.parse(parameters, table=name, arguments=is_call and is_read)
    if is_read:
        asked = query.with_range(asked, http.headers.get("range"))
    content_type = http.headers.get("content-type", "").split(";")[0].strip().lower()
    body = b"" if is_read else await http.body()
    form = tuple(parse_qsl(body.decode(), keep_blank_values=True)) if content_type == FORM else ()
    prefer = parse_prefer(http.headers.getlist("prefer"))
    return Request(http.method, name, asked, prefer, http.headers.get("accept"), content_type, body, form)


def _planner(request: Request, *, is_call: bool) -> Callable[[Request, SchemaCache, int], Plan]:
    if is_call:
        return plans.plan_call
    if request.method in READS:
        return plans.plan_read
    write = {"POST": writes.plan_insert, "PATCH": writes.plan_update, "DELETE": writes.plan_delete}[request.method]
    return lambda request, cache, _: write(request, cache)


def _session(http: requests.Request, caller: Caller, cache: SchemaCache, plan: Plan, path: str) -> Session:
    """The settings that SQL code can read, then those of the role, then those hoisted from the function."""
    context = {
        "request.jwt.claims": json.dumps(caller.claims, separators=(",", ":")),
        "request.method": http.method,
        "request.path": path,
        "request.headers": json.dumps(dict(http.headers)),
    }
    settings = {**context, **cache.roles.get(caller.role, {}), **plan.settings}
    return Session(caller.role, plan.readonly, settings)
