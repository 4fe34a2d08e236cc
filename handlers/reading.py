"""Turns a complete answer into a JSON object that is safe to keep. Used by every model step."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from consumer.errors import OutputNotJson
from consumer.job import JsonObject
from handlers.refusal import Refusal, Unreadable
from handlers.tolerant import find_object
from schemas.clean import clean, clean_text

# A thousand times a usual answer; beyond it nothing good can follow.
MAX_ANSWER = 400_000
# What makes the graph. Of other keys given twice the last plain value counts, as in jsonb (PostgreSQL manual, 8.14).
STRUCTURAL = frozenset({"type", "id", "after", "source", "target", "sourceHandle", "triggerType"})


def read_object(text: str) -> JsonObject:
    """The JSON object in the answer, cleaned. An answer that is JSON is taken as it is, another read tolerantly.

    Raises:
        OutputNotJson: there is no JSON object, or more than one way to read it; the message quotes nothing of it.
    """
    if len(text) > MAX_ANSWER:
        raise OutputNotJson(f"the answer has {len(text)} characters; more than {MAX_ANSWER} are refused")
    try:
        whole = _whole(text)
        cleaned: JsonObject = clean(find_object(text, _loads) if whole is None else whole)
    except (Unreadable, RecursionError) as error:
        reason = error.refusal if isinstance(error, Unreadable) else Refusal.TOO_DEEP
        raise OutputNotJson(f"the answer of {len(text)} characters is not usable: {reason}") from error
    return cleaned


def _whole(text: str) -> JsonObject | None:
    """The answer, if all of it is one JSON object."""
    try:
        value = json.loads(text, parse_constant=_refuse, object_pairs_hook=_members, strict=False)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _loads(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_members, strict=False)
    except ValueError as error:
        # int() refuses more digits than sys.get_int_max_str_digits(); all else has been rewritten as JSON.
        raise Unreadable(Refusal.NUMBER_TOO_LONG) from error


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _members(pairs: list[tuple[str, Any]]) -> JsonObject:
    """An object. Keys are compared as they will be stored, so that none is lost when they are cleaned."""
    members: JsonObject = {}
    for name, value in pairs:
        key = clean_text(name, 200)
        if key in members and _contradicts(key, members[key], value):
            raise Unreadable(Refusal.CONTRADICTION)
        members[key] = value
    return members


def _contradicts(key: str, old: Any, new: Any) -> bool:
    carries = key in STRUCTURAL or isinstance(old, dict | list) or isinstance(new, dict | list)
    return carries and json.dumps(old, sort_keys=True) != json.dumps(new, sort_keys=True)
