"""The body of a write or of a function call, checked but not converted: PostgreSQL itself reads the JSON.

Called by `plans` and `rpc`. Only the shape and the keys are looked at here; values travel as the text that was sent.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from devstack.rest.errors import RestError, invalid_json

Shape = Literal["object", "array", "scalar"]


@dataclass(frozen=True, slots=True)
class Payload:
    """A JSON document: its text, what it is, and the keys of its (first) object."""

    text: str
    shape: Shape
    keys: frozenset[str]
    rows: int


def parse(raw: bytes, *, same_keys: bool = True) -> Payload:
    """A JSON body; an array must hold objects, with the same keys in each if `same_keys`.

    Raises:
        RestError: 400 PGRST102; 500 54001 when it is nested deeper than Python's recursion limit.
    """
    text, value = _load(raw)
    if isinstance(value, dict):
        return Payload(text, "object", frozenset(value), 1)
    if not isinstance(value, list):
        return Payload(text, "scalar", frozenset(), 0)
    if not all(isinstance(row, dict) for row in value) or (
        same_keys and any(row.keys() != value[0].keys() for row in value)
    ):
        raise RestError(400, "PGRST102", "All object keys must match")
    return Payload(text, "array", frozenset(value[0]) if value else frozenset(), len(value))


def _load(raw: bytes) -> tuple[str, Any]:
    try:
        text = raw.decode("utf-8")
        value = json.loads(text, parse_int=str, parse_float=str, parse_constant=_no_constant)
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise RestError(500, "54001", "stack depth limit exceeded") from None
    except ValueError:
        raise invalid_json() from None
    return text, value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
