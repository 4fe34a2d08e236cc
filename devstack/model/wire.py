"""The words of the wire: JSON as Go reads and writes it, timestamps, durations, and errors as Ollama phrases them.

Pure. Called by every other module of `devstack.model`. Source of all texts: traces/ollama.md, tests/recordings/ollama.
"""

from __future__ import annotations

import json
import math
import re
import time
from datetime import UTC, datetime
from typing import Any

JsonObject = dict[str, Any]
# Go's longest duration, 292 years: what a negative keep_alive becomes.
FOREVER_NS = 2**63 - 1
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_ESCAPED = re.compile("[<>&\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)")
_CONTEXTS = {
    "Expecting value": "looking for beginning of value",
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Expecting ':' delimiter": "after object key",
    "Expecting ',' delimiter": "after object key:value pair",
    "Invalid control character at": "in string literal",
    "Invalid \\escape": "in string escape code",
}


class ApiError(Exception):
    """A refusal with its HTTP status. `relayed`: the runner said it; to a stream it goes out chunked."""

    def __init__(self, status: int, message: str, *, relayed: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.relayed = relayed


def dumps(value: Any) -> str:
    """Compact JSON as Go's encoder writes it: `<`, `>`, `&`, U+2028 and U+2029 escaped, everything else raw."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _ESCAPED.sub(lambda match: _ESCAPES[match[0]], text)


def loads(body: bytes) -> Any:
    """Read a request body as Go's decoder does: what follows the first value is ignored, broken UTF-8 becomes U+FFFD.

    Raises:
        ApiError: 400 with Go's sentence.
    """
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    if not text:
        raise ApiError(400, "missing request body")
    try:
        return _whole(json.JSONDecoder().raw_decode(text)[0])
    except RecursionError:
        raise ApiError(400, "exceeded max depth") from None
    except json.JSONDecodeError as error:
        raise ApiError(400, _syntax(error, text)) from None


def _syntax(error: json.JSONDecodeError, text: str) -> str:
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
        return "unexpected EOF"
    return f"invalid character '{text[error.pos]}' {_CONTEXTS.get(error.msg, 'looking for beginning of value')}"


def _whole(value: Any) -> Any:
    """Lone surrogates become U+FFFD, as in Go: they cannot be sent on as UTF-8."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value


def kind(value: Any) -> str:
    """What Go's decoder calls a JSON value: string, number, bool, array or object."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "array"
    return "object" if isinstance(value, dict) else "null"


def timestamp(at_ns: int | None = None) -> str:
    """RFC 3339 in UTC with nanoseconds, trailing zeros cut, `Z`; now, or `at_ns` since 1970."""
    seconds, nanos = divmod(time.time_ns() if at_ns is None else at_ns, 10**9)
    fraction = f".{nanos:09d}".rstrip("0").rstrip(".")
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"


def keep_alive(value: Any) -> float | None:
    """Seconds a model stays after its last request: None when not given, `math.inf` for ever.

    Raises:
        ApiError: 400 with Go's sentence.
    """
    if value is None:
        return None
    if kind(value) not in ("number", "string"):
        raise ApiError(400, f"Unsupported type: '{ {'array': '[]interface {}'}.get(kind(value), kind(value)) }'")
    seconds = _duration(value) if isinstance(value, str) else float(value)
    return math.inf if seconds < 0 else seconds


def _duration(text: str) -> float:
    """Go's `time.ParseDuration`, in seconds."""
    sign = -1.0 if text.startswith("-") else 1.0
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0.0
    parts = _DURATION_PART.findall(rest)
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        raise ApiError(400, f"time: invalid duration {dumps(text)}")
    return sign * sum(float(number) * _unit(unit, text) for number, unit in parts)


def _unit(unit: str, text: str) -> float:
    if not unit:
        raise ApiError(400, f"time: missing unit in duration {dumps(text)}")
    if unit not in _UNITS:
        raise ApiError(400, f"time: unknown unit {dumps(unit)} in duration {dumps(text)}")
    return _UNITS[unit]
