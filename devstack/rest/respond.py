"""The response to a request that PostgreSQL has done: status, ranges, headers, body. Called by `api`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from devstack.rest.database import Row
from devstack.rest.errors import RestError, unsatisfiable_range
from devstack.rest.plans import Plan, Request
from devstack.rest.prefer import OBJECT


def check(request: Request, plan: Plan, row: Row) -> None:
    """Refuse what must not be committed.

    Raises:
        RestError: PGRST116 for the wrong number of rows, PGRST124 for too many; PGRST111 and PGRST112 for bad settings.
    """
    limit = request.prefer.max_affected
    if limit is not None and "max-affected" in plan.honours and row.page > limit:
        message = "Query result exceeds max-affected preference constraint"
        raise RestError(400, "PGRST124", message, f"The query affects {row.page} rows")
    if plan.media == OBJECT and row.page != 1 and not plan.single:
        message = "Cannot coerce the result to a single JSON object"
        raise RestError(406, "PGRST116", message, f"The result contains {row.page} rows")
    _status(plan, request, row)
    _own_headers(row)


def respond(request: Request, plan: Plan, row: Row, extra: Mapping[str, str]) -> Response:
    """The answer; `extra` are headers known before the statement ran (Content-Location)."""
    status = _status(plan, request, row)
    content_range = _content_range(request, plan, row)
    headers = {"Content-Range": content_range, **extra, **request.prefer.applied(plan.honours)}
    if plan.kind in ("read", "call") and status == 416:
        reason = f"An offset of {request.query.offset} was requested, but there are only {row.total} rows."
        refusal = unsatisfiable_range(reason, headers).response()
        del refusal.headers["proxy-status"]
        return refusal
    if plan.key and row.page == 1:
        headers["Location"] = _location(request, plan, row)
    headers |= _own_headers(row)
    if plan.void or not _has_body(plan, request):
        headers.pop("Content-Profile", None)
        return Response(status_code=status, headers=headers)
    headers["Content-Type"] = f"{plan.media}; charset=utf-8"
    if request.method == "HEAD":
        response = Response(status_code=status, headers=headers)
        del response.headers["content-length"]
        return response
    return Response(row.body.encode(), status, headers)


def _has_body(plan: Plan, request: Request) -> bool:
    return plan.kind in ("read", "call") or request.represents


def _status(plan: Plan, request: Request, row: Row) -> int:
    if row.status is not None:
        if not (row.status.isdecimal() and 200 <= int(row.status) <= 599):
            raise RestError(500, "PGRST112", "response.status guc must be a valid status code")
        return int(row.status)
    match plan.kind:
        case "insert":
            return 200 if row.merged is not None and row.merged == row.page > 0 else 201
        case "update" | "delete":
            return 200 if request.represents else 204
        case _:
            return 204 if plan.void else _range_status(request.query.offset, row)


def _range_status(first: int, row: Row) -> int:
    if row.total is None:
        return 200
    if first > row.total > 0:
        return 416
    return 206 if row.page < row.total else 200


def _content_range(request: Request, plan: Plan, row: Row) -> str:
    total = "*" if row.total is None else str(row.total)
    if plan.kind in ("insert", "delete") or row.page == 0:
        return f"*/{total}"
    first = request.query.offset if plan.kind in ("read", "call") else 0
    return f"{first}-{first + row.page - 1}/{total}"


def _location(request: Request, plan: Plan, row: Row) -> str:
    values: dict[str, Any] = json.loads(row.body)[0]
    filters = "&".join(f"{quote(name)}=eq.{quote(str(values[name]), safe='')}" for name in plan.key)
    return f"/{quote(request.name)}?{filters}"


def _own_headers(row: Row) -> dict[str, str]:
    """Headers that a function set in `response.headers`."""
    if row.headers is None:
        return {}
    try:
        pairs = [pair for entry in json.loads(row.headers) for pair in entry.items()]
        found = {str(name): str(value) for name, value in pairs}
        if not all(text.isascii() and text.isprintable() for pair in found.items() for text in pair):
            raise ValueError(row.headers)
    except (ValueError, AttributeError, TypeError):
        message = "response.headers guc must be a JSON array composed of objects with a single key and a string value"
        raise RestError(500, "PGRST111", message) from None
    return found
