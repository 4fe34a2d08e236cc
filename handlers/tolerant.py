"""Finds the one object in an answer that is not JSON as a whole. Called by handlers/reading.py.

A server that ignores `format` sends what the model wrote: fences, prose, thinking, an object twice. The rules:

- What is in thinking tags is not the answer.
- A bracket that does not begin like an object (`{name}`, `[1]`) is prose, and so is an empty one.
- Anything else that begins like an object must be read, or all is refused: a damaged outer object must not make one
  of its parts the answer. So an object is a part, and refused, inside a bracket of prose; after a quoted key, or a
  word in lower case that begins a line, and its colon or equals sign (YAML, TOML, a lost bracket); as an item of a
  list of lines; and where more members follow it.
- Several that are equal are one; several that differ are refused, in fences or not: which is the example?

It reads on where a failed reading stopped, never from its start again: linear in the text.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any

from consumer.job import JsonObject
from handlers.near_json import quoted, rewrite
from handlers.refusal import Refusal, Unreadable

# JSON in a string in a string: no server was seen to quote more often.
MAX_QUOTED = 2

_MARK = re.compile(r"[{\[}\]]|`{3,}|~{3,}|</?think(?:ing)?>", re.IGNORECASE)
_THINKING_ENDS = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:quot|#34|#x22);", re.IGNORECASE)
_QUOTED = re.compile(r'[{\[](?:\s|\\++[nrt])*+\\(?:\\\\)*+"')
_QUOTED_BODY = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
_MEMBER_BEFORE = re.compile(
    r"""["'”]\s*[:=]>?\s*\Z | [0-9"'],\s*\Z
      | (?:\A|\n)[ \t]*(?:[-*+][ ]+)?[*_`]*[a-z_][\w-]*[*_`]*[ ]?[:=][ \t]*\Z
      | (?:\A|\n)[ \t]*[-*+][ ]+\Z""",
    re.VERBOSE,
)
_MEMBER_AFTER = re.compile(
    r"""[\s}\]]*+(?:,\s*+)?(?:["'“][^"'”\n]{0,200}["'”]|[a-z_][\w-]{0,60})\s*+[:=](?!//)""",
)
_LOOK_BACK = 80

Loads = Callable[[str], Any]


def find_object(text: str, loads: Loads) -> JsonObject:
    """The one object in the text. `loads` parses strict JSON.

    Raises:
        Unreadable: there is none, it cannot be read in one way, or there are several that differ.
    """
    if not text.strip("\ufeff \t\r\n"):
        raise Unreadable(Refusal.EMPTY)
    scan = _Scan(loads)
    scan.read(html.unescape(text) if '"' not in text and _ENTITY.search(text) else text)
    return scan.only()


class _Scan:
    """What was found so far: objects, and the reasons why others cannot be read. `inside`: open brackets of prose."""

    def __init__(self, loads: Loads, level: int = 0) -> None:
        self._loads, self._level = loads, level
        self._found: list[JsonObject | Refusal] = []
        self._inside = 0

    def read(self, text: str) -> None:
        """Go through the text once."""
        at = 0
        while mark := _MARK.search(text, at):
            at = mark.end()
            match mark[0][:2]:
                case "</":
                    self._found, self._inside = [], 0
                case "<t" | "<T":
                    at = self._thinking(text, at)
                case "``" | "~~":
                    self._inside = 0
                case "}" | "]":
                    self._inside = max(self._inside - 1, 0)
                case _:
                    at = self._bracket(text, mark.start())

    def only(self) -> JsonObject:
        """The object, if there is one and no doubt."""
        for one in self._found:
            if isinstance(one, Refusal):
                raise Unreadable(one)
        objects = [one for one in self._found if isinstance(one, dict)]
        if not objects:
            raise Unreadable(Refusal.NO_OBJECT)
        if not _all_same(objects):
            raise Unreadable(Refusal.SEVERAL)
        return objects[0]

    def _thinking(self, text: str, at: int) -> int:
        end = _THINKING_ENDS.search(text, at)
        if end is None:
            self._found.append(Refusal.ONLY_THOUGHT)
            return len(text)
        return end.end()

    def _bracket(self, text: str, at: int) -> int:
        """Read what starts there; returns where to go on."""
        if _QUOTED.match(text, at):
            return self._quoted(text, at)
        try:
            written, end = rewrite(text, at)
        except Unreadable as no:
            if no.is_object:
                self._found.append(no.refusal)
            self._inside += 1
            return max(no.at, at + 1)
        try:
            self._keep(self._loads(written), self._is_part(text, at, end))
        except Unreadable as no:
            self._found.append(no.refusal)
        return end

    def _quoted(self, text: str, at: int) -> int:
        """JSON inside a JSON string: take one layer of escapes off and read that."""
        body = _QUOTED_BODY.search(text, at)
        assert body is not None
        inner = _Scan(self._loads, self._level + 1)
        if inner._level > MAX_QUOTED:
            self._found.append(Refusal.TOO_DEEP)
        else:
            inner.read(json.loads(quoted(body[0]), strict=False))
            self._found += inner._found
        return body.end()

    def _keep(self, value: Any, is_part: bool) -> None:
        items = value if isinstance(value, list) else [value]
        objects = [item for item in items if isinstance(item, dict) and item]
        if not objects:
            return
        if is_part:
            raise Unreadable(Refusal.PART)
        if len(objects) < len(items) or not _all_same(objects):
            raise Unreadable(Refusal.LIST)
        self._found.append(objects[0])

    def _is_part(self, text: str, at: int, end: int) -> bool:
        """Whether what is around it makes it a member of something. Doubled braces, as in a template, do not."""
        doubled = self._inside == 1 and text[at - 1] == "{" and text[end : end + 1] == "}"
        before = text[max(0, at - _LOOK_BACK) : at]
        return bool((self._inside and not doubled) or _MEMBER_BEFORE.search(before) or _MEMBER_AFTER.match(text, end))


def _all_same(objects: list[JsonObject]) -> bool:
    return len({json.dumps(one, sort_keys=True) for one in objects}) == 1
