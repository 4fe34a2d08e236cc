"""Finds the one object in an answer that is not JSON as a whole. Called by handlers/reading.py.

A server that ignores `format` sends what the model wrote: fences, prose, thinking, an object twice. The rules:

- What is in thinking tags is not the answer. An answer that holds a fence with an object in it is what is in fences.
- A bracket that does not begin like an object (`{name}`, `[1]`) is prose, and so is an empty one.
- Anything else that begins like an object must be read, or all is refused: a damaged outer object must not make
  one of its parts the answer. For the same reason an object after `"key":` or before `, "key":` is refused.
- Several that are equal are one; several that differ are refused.

It reads on where a failed reading stopped, never from its start again: linear in the text.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any

from consumer.job import JsonObject
from handlers.near_json import Refusal, Unreadable, quoted, rewrite

# JSON in a string in a string: no server was seen to quote more often.
MAX_QUOTED = 2

_MARK = re.compile(r"[{\[]|`{3,}|~{3,}|</?think(?:ing)?>", re.IGNORECASE)
_THINKING_ENDS = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:quot|#34|#x22);", re.IGNORECASE)
_QUOTED = re.compile(r'[{\[](?:\s|\\++[nrt])*+\\(?:\\\\)*+"')
_QUOTED_BODY = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
_KEY_BEFORE = re.compile(r"""["'”]\s*:\s*\Z|(?:\A|\n)[ \t]*(?:- )?[a-z_][\w-]*:[ \t]*\Z""")
_KEY_AFTER = re.compile(r"""[\s}\]]*+,?\s*+["'“][^"'”\n]{0,200}["'”]\s*+:""")
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
    """What was found so far: objects, or the reasons why they cannot be read, in fences and outside."""

    def __init__(self, loads: Loads, level: int = 0) -> None:
        self._loads, self._level = loads, level
        self._found: dict[bool, list[JsonObject | Unreadable]] = {True: [], False: []}
        self._fenced = False

    def read(self, text: str) -> None:
        """Go through the text once."""
        at = 0
        while mark := _MARK.search(text, at):
            at = mark.end()
            match mark[0][:2]:
                case "</":
                    self._found = {True: [], False: []}
                case "<t" | "<T":
                    at = self._thinking(text, at)
                case "``" | "~~":
                    self._fenced = not self._fenced
                case _:
                    at = self._bracket(text, mark.start())

    def only(self) -> JsonObject:
        """The object, if there is one and no doubt."""
        found = self._found[True] or self._found[False]
        for one in found:
            if isinstance(one, Unreadable):
                raise one
        objects = [one for one in found if isinstance(one, dict)]
        if not objects:
            raise Unreadable(Refusal.NO_OBJECT)
        if not _all_same(objects):
            raise Unreadable(Refusal.SEVERAL)
        return objects[0]

    def _add(self, one: JsonObject | Unreadable) -> None:
        self._found[self._fenced].append(one)

    def _thinking(self, text: str, at: int) -> int:
        end = _THINKING_ENDS.search(text, at)
        if end is None:
            self._add(Unreadable(Refusal.ONLY_THOUGHT))
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
                self._add(no)
            return max(no.at, at + 1)
        try:
            self._keep(self._loads(written), _is_part(text, at, end))
        except Unreadable as no:
            self._add(no)
        return end

    def _quoted(self, text: str, at: int) -> int:
        """JSON inside a JSON string: take one layer of escapes off and read that."""
        body = _QUOTED_BODY.search(text, at)
        assert body is not None
        inner = _Scan(self._loads, self._level + 1)
        if inner._level > MAX_QUOTED:
            self._add(Unreadable(Refusal.TOO_DEEP))
        else:
            inner.read(json.loads(quoted(body[0]), strict=False))
            self._found[self._fenced] += inner._found[True] or inner._found[False]
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
        self._add(objects[0])


def _is_part(text: str, at: int, end: int) -> bool:
    """Whether the text around it makes it a member of something, or lets members follow."""
    return bool(_KEY_BEFORE.search(text[max(0, at - _LOOK_BACK) : at]) or _KEY_AFTER.match(text, end))


def _all_same(objects: list[JsonObject]) -> bool:
    return len({json.dumps(one, sort_keys=True) for one in objects}) == 1
