"""Makes any JSON value storable in jsonb and safe to show. Model text is hostile: this is the first thing it meets."""

from __future__ import annotations

import math
import re
from typing import Any

MAX_DEPTH = 24
MAX_TEXT = 20_000
MAX_ITEMS = 8_000

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
    """Whether jsonb can store it as it is and its depth is bearable. Linear, not recursive."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [child for item in level for child in _children(item)]
        if any(not _plain(item) for item in level):
            return False
        if not level:
            return _plain(value)
    return False


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list) else []


def _plain(value: object) -> bool:
    if isinstance(value, str):
        return _UNSTORABLE.search(value) is None
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, int | dict | list)
