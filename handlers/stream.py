"""Reads answers while they stream, for the preview: a small scanner of `"key": "value"` pairs. Linear; never raises."""

from __future__ import annotations

from collections.abc import Callable

from consumer.job import JsonObject
from schemas.clean import one_line

_MAX_TEXT = 400
_MAX_SHOWN = 50
_ESCAPES = {"n": " ", "t": " ", "r": " ", "b": "", "f": ""}


class PairScanner:
    """Calls back for every string value with its key. Keeps one string at a time, so memory is bounded."""

    def __init__(self, found: Callable[[str, str], None]) -> None:
        self._found = found
        self._text: list[str] | None = None
        self._escaped = False
        self._last = ""
        self._key: str | None = None

    def feed(self, text: str) -> None:
        """Take the next piece."""
        for char in text:
            if self._text is None:
                self._outside(char)
            else:
                self._inside(char, self._text)

    def _outside(self, char: str) -> None:
        if char == '"':
            self._text = []
        elif char == ":":
            self._key = self._last
        elif char in ",{}[]":
            self._key = None

    def _inside(self, char: str, text: list[str]) -> None:
        if self._escaped:
            self._escaped = False
            self._add(_ESCAPES.get(char, char), text)
        elif char == "\\":
            self._escaped = True
        elif char == '"':
            self._close("".join(text))
        else:
            self._add(char, text)

    def _add(self, char: str, text: list[str]) -> None:
        if len(text) < _MAX_TEXT:
            text.append(char)

    def _close(self, value: str) -> None:
        self._text = None
        if self._key is None:
            self._last = value
        else:
            self._found(self._key, value)
            self._key = None


class NodeReader:
    """Preview of a workflow: the labels (types, until a label comes) in order."""

    def __init__(self) -> None:
        self._scanner = PairScanner(self._found)
        self._nodes: list[str] = []
        self._type_only = False
        self._label_only = False
        self._changed = False

    def feed(self, text: str) -> bool:
        """Take the next piece of the answer; True when `preview` has changed."""
        self._changed = False
        self._scanner.feed(text)
        return self._changed

    @property
    def preview(self) -> JsonObject:
        """`{"nodes": ["Every morning", "Get the weather"]}`."""
        return {"nodes": list(self._nodes)}

    def _found(self, key: str, value: str) -> None:
        shown = one_line(value)
        if key not in ("type", "label") or len(self._nodes) >= _MAX_SHOWN:
            return
        self._changed = True
        # A node tells type and label in either order; the label is the better name.
        if key == "label" and self._type_only:
            self._nodes[-1], self._type_only = shown, False
        elif key == "type" and self._label_only:
            self._label_only = False
        else:
            self._nodes.append(shown)
            self._type_only, self._label_only = key == "type", key == "label"


class SummaryReader:
    """Preview of an analysis: its summary, once it is there."""

    def __init__(self) -> None:
        self._scanner = PairScanner(self._found)
        self._summary: str | None = None
        self._changed = False

    def feed(self, text: str) -> bool:
        """Take the next piece of the answer; True when `preview` has changed."""
        self._changed = False
        self._scanner.feed(text)
        return self._changed

    @property
    def preview(self) -> JsonObject:
        """`{"summary": "…"}`, or empty."""
        return {} if self._summary is None else {"summary": self._summary}

    def _found(self, key: str, value: str) -> None:
        if key == "summary" and self._summary is None:
            self._summary, self._changed = one_line(value, 200), True
