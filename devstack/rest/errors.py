"""The errors of the REST half: PostgREST's JSON body, its HTTP status for every SQLSTATE, its headers.

Called by every module of this package; `api` turns a `RestError` into the response. Source: traces/postgrest.md §3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from starlette.responses import Response

JSON_TYPE = "application/json; charset=utf-8"
_STATUS = {
    "23503": 409, "23505": 409, "25006": 405, "42501": 403, "42883": 404, "42P01": 404, "42P17": 500,
    "53400": 500, "57P01": 503, "P0001": 400,
}  # fmt: skip
_CLASS_STATUS = {
    "08": 503, "09": 500, "0L": 403, "0P": 403, "21": 500, "25": 500, "28": 403, "2D": 500, "38": 500, "39": 500,
    "3B": 500, "40": 500, "53": 503, "54": 500, "55": 500, "57": 500, "58": 500, "F0": 500, "HV": 500, "P0": 500,
    "XX": 500,
}  # fmt: skip
_MESSAGE_HINT = (
    "MESSAGE must be a JSON object with obligatory keys: 'code', 'message' and optional keys: 'details', 'hint'."
)
_DETAIL_HINT = "DETAIL must be a JSON object with obligatory keys: 'status', 'headers' and optional key: 'status_text'."


@dataclass
class RestError(Exception):
    """One answer that is not a success. `code` is a SQLSTATE or one of PostgREST's own PGRSTnnn."""

    status: int
    code: str
    message: str
    details: str | None = None
    hint: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """The error as PostgREST writes it: keys in this order, compact, with Proxy-Status."""
        body = {"code": self.code, "details": self.details, "hint": self.hint, "message": self.message}
        headers = {"Proxy-Status": f"PostgREST; error={_header_safe(self.code)}", **self.headers}
        if self.status == 401:
            headers.setdefault("WWW-Authenticate", "Bearer")
        if self.status == 503:
            headers.setdefault("Retry-After", "0")
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        if self.status in (204, 304):
            return Response(status_code=self.status, headers=headers)
        return Response(text.encode("utf-8", "replace"), self.status, {"Content-Type": JSON_TYPE, **headers})


def from_postgres(error: asyncpg.PostgresError | asyncpg.PostgresWarning, role: str) -> RestError:
    """What an error that PostgreSQL raised becomes; `role` is who asked (anon gets 401 instead of 403)."""
    code = str(error.sqlstate)
    if code == "PGRST":
        return _custom(str(error.message), error.detail)
    return RestError(_status(code, role), code, str(error.message), error.detail, error.hint)


def invalid_json() -> RestError:
    """PGRST102 for a body that is not one JSON document."""
    return RestError(400, "PGRST102", "Empty or invalid json")


def unreachable(details: str) -> RestError:
    """PGRST000: no connection to PostgreSQL can be made."""
    return RestError(503, "PGRST000", "Database connection error.", details)


def interrupted() -> RestError:
    """PGRST001: the connection died under the request; what it did is unknown to the caller."""
    message = "Database client error. Retrying the connection."
    return RestError(503, "PGRST001", message, "no connection to the server\n")


def no_schema_cache() -> RestError:
    """PGRST002: PostgreSQL has not been reachable since the start."""
    return RestError(503, "PGRST002", "Could not query the database for the schema cache. Retrying.")


def pool_exhausted() -> RestError:
    """PGRST003: every pool connection was busy for the whole acquisition time."""
    return RestError(504, "PGRST003", "Timed out acquiring connection from connection pool.")


def unsatisfiable_range(details: str, headers: Mapping[str, str] | None = None) -> RestError:
    """PGRST103 with the reason in `details`."""
    return RestError(416, "PGRST103", "Requested range not satisfiable", details, headers=headers or {})


def _status(code: str, role: str) -> int:
    if code == "42501" and role == "anon":
        return 401
    if raised := re.fullmatch(r"PT([2-5]\d\d)", code):
        return int(raised[1])
    if code.startswith("PT"):
        return 500
    return _STATUS.get(code) or _CLASS_STATUS.get(code[:2], 400)


def _custom(message: str, detail: str | None) -> RestError:
    """`RAISE SQLSTATE 'PGRST'`: the function wrote the whole answer as JSON in MESSAGE and DETAIL."""
    body, outer = _object(message), _object(detail or "")
    if body is None or not {"code", "message"} <= body.keys():
        return _unreadable("MESSAGE", message, _MESSAGE_HINT)
    if outer is None or not isinstance(outer.get("status"), int) or not isinstance(outer.get("headers"), dict):
        return _unreadable("DETAIL", detail or "", _DETAIL_HINT)
    headers = {_header_safe(name): _header_safe(str(value)) for name, value in outer["headers"].items()}
    status = outer["status"] if 200 <= outer["status"] <= 599 else 500
    return RestError(status, str(body["code"]), str(body["message"]), body.get("details"), body.get("hint"), headers)


def _unreadable(part: str, value: str, hint: str) -> RestError:
    message = "Could not parse JSON in the \"RAISE SQLSTATE 'PGRST'\" error"
    return RestError(500, "PGRST121", message, f"Invalid JSON value for {part}: '{value}'", hint)


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _header_safe(text: str) -> str:
    """SQL code chooses some header values: nothing but printable ASCII may reach the response head."""
    return re.sub(r"[^ -~]", "?", text)
