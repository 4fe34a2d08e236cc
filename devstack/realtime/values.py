"""Column values as Realtime writes them: from PostgreSQL's text output to JSON text. Used by `render`.

Equal to the server's `to_jsonb(text::type)` for the types of traces/realtime.md §1 "Values"; others stay text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal

_ENCODE = json.JSONEncoder(ensure_ascii=False).encode
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_BOUNDS = re.compile(r"^(\[-?\d+:-?\d+\])+=")
_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,{}"]+)|([{},])')


def cast(kind: str, text: str) -> str:
    """JSON text of a value; `kind` is the pg_type name (`int8`, `_text`), `text` PostgreSQL's output in UTC."""
    if kind.startswith("_"):
        return _array(kind[1:], text)
    return _CASTS.get(kind, _string)(text)


def _string(text: str) -> str:
    return _ENCODE(text)


def _number(text: str) -> str:
    return text if _NUMBER.fullmatch(text) else "null"  # NaN and the infinities have no JSON


def _float(text: str) -> str:
    value = Decimal(text)
    return (format(value, "f") if value else "0") if value.is_finite() else "null"


def _bool(text: str) -> str:
    return "true" if text == "t" else "false"


def _timestamp(text: str) -> str:
    return _string(text.replace(" ", "T", 1)) if text[0].isdigit() else _string(text)


def _timestamptz(text: str) -> str:
    day, blank, rest = text.partition(" ")
    return _string(f"{day}T{rest.replace('+00', '+00:00', 1)}") if blank else _string(text)


def _bytea(text: str) -> str:
    return _string(text.removeprefix("\\x"))


def _array(kind: str, text: str) -> str:
    """An array literal, nested as deep as it is; NULL without quotes is null."""
    parts: list[str] = []
    for quoted, bare, mark in _ITEM.findall(_BOUNDS.sub("", text)):
        if mark:
            parts.append({"{": "[", "}": "]", ",": ", "}[mark])
        elif bare == "NULL":
            parts.append("null")
        else:
            parts.append(cast(kind, bare or re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)))
    return "".join(parts)


_CASTS: dict[str, Callable[[str], str]] = {
    "bool": _bool,
    **dict.fromkeys(("int2", "int4", "int8", "oid", "numeric"), _number),
    **dict.fromkeys(("float4", "float8"), _float),
    **dict.fromkeys(("json", "jsonb"), str),
    "timestamp": _timestamp,
    "timestamptz": _timestamptz,
    "bytea": _bytea,
}
