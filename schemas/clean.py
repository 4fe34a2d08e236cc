"""Makes any JSON value storable in jsonb and safe to show. Model text is hostile: this is the first thing it meets."""

from __future__ import annotations

import math
import re
from typing import Any

MAX_DEPTH = 24
MAX_TEXT = 20_000
MAX_ITEMS = 8_000

# Keys and indexes from the outermost value inwards.
Place = tuple[str | int, ...]
TOO_DEEP = f"is nested more than {MAX_DEPTH} levels deep"
_BAD_TEXT = "holds a NUL or half a character"
_BAD_KEY = "has a key that holds a NUL or half a character"

# What PostgreSQL's jsonb refuses: NUL and lone surrogates (contract: nothing unstorable).
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# Control characters, C1 and bidirectional overrides: they move cursors, colour terminals and reverse text.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_ANSI = re.compile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[@-Z\\\\-_])")


def clean_text(text: str, limit: int = MAX_TEXT) -> str:
    """The text without escape sequences, control characters (but tab, newline), lone surrogates; cut at `limit`."""
    return _CONTROL.sub("", _ANSI.sub("", text[: 4 * limit]))[:limit]


def one_line(text: str, limit: int = 60) -> str:
    """`clean_text` on one line, for labels, messages and terminals."""
    line = " ".join(clean_text(text, 4 * limit).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def clean(value: Any, depth: int = 0) -> Any:
    """A copy that jsonb can store: text cleaned, NaN and what is too deep made null, lists and objects bounded."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, bool | int) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth >= MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {clean_text(str(key), 200): clean(item, depth + 1) for key, item in list(value.items())[:MAX_ITEMS]}
    return [clean(item, depth + 1) for item in value[:MAX_ITEMS]] if isinstance(value, list) else None


def storable(value: object) -> bool:
    """Whether jsonb can store it as it is and its depth is bearable."""
    return unstorable(value) is None


def unstorable(value: object) -> tuple[Place, str] | None:
    """Where it is that jsonb cannot store the value or its depth is not bearable, and what is wrong there.

    Linear, not recursive. The place holds no text that jsonb refuses.
    """
    level: list[tuple[Place, object]] = [((), value)]
    for _ in range(MAX_DEPTH + 1):
        for place, item in level:
            if (wrong := _wrong(item)) is not None:
                return place, wrong
        level = [child for place, item in level for child in _children(place, item)]
        if not level:
            return None
    return level[0][0], TOO_DEEP


def _children(place: Place, value: object) -> list[tuple[Place, object]]:
    if isinstance(value, dict):
        return [((*place, key), item) for key, item in value.items()]
    return [((*place, index), item) for index, item in enumerate(value)] if isinstance(value, list) else []


def _wrong(value: object) -> str | None:
    if isinstance(value, str):
        return _BAD_TEXT if _UNSTORABLE.search(value) else None
    if isinstance(value, float):
        return None if math.isfinite(value) else "is a number that is not finite"
    if isinstance(value, dict):
        return _BAD_KEY if any(_UNSTORABLE.search(str(key)) for key in value) else None
    return None if value is None or isinstance(value, int | list) else "is not a JSON value"
