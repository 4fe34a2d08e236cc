"""Rewrites a value that is nearly JSON as strict JSON, where there is one way to read it.

Called by handlers/tolerant.py for each bracket it finds. Understood: comments, trailing commas, a missing comma at a
line's end, single and typographic quotes, bare keys, Python's True/False/None, numbers such as +1 and .5, escapes
that JSON does not know, a list closed by its object's bracket, and a cut tail.

Why no library: on tests/corpus/damaged the readers of JSON5 and its kin (json5, pyjson5, hjson, dirtyjson, demjson3)
recover a quarter of what can be recovered, and those made for models guess: of what must be refused json-repair
0.64 reads seven in ten, chompjs 1.4 four in ten.

The rules, each with its reason:

- Cut tail: what is open is closed if the text ends after a whole member or after its comma. Text that ends inside a
  string, number, word or comment, after a colon, or right after an opening bracket has lost what cannot be told.
- An ellipsis, also in a comment, says that something was left out.
- A backslash before what is no escape is a backslash, as in Python (a regular expression, a Windows path); `\\'` and
  the `\\_` of Markdown are the bare character.
- What one language reads otherwise than another (undefined, 007, 1,,2) is refused, and so is NaN.

One pass: every character is matched by one token, and no pattern backtracks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NoReturn

from handlers.refusal import Refusal, Unreadable

# No answer asked for is deeper than 24 (schemas/clean.py); json.loads bears this in every supported Python.
MAX_NESTING = 500

_TOKEN = re.compile(
    r"""
    (?P<blank>[\s\x00\u200b-\u200d\u2060\ufeff]++)
  | (?P<comment>(?://|\#)[^\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/)
  | (?P<string>"(?:[^"\\]++|\\.)*+"|'(?:[^'\\]++|\\.)*+'|[“”„](?:[^“”„"\\]++|\\.)*+[“”]|[‘’](?:[^‘’'\\]++|\\.)*+[‘’])
  | (?P<number>[-+]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]++)?(?![\w.]))
  | (?P<word>[-+]?[\w$][\w$-]*+)
  | (?P<mark>[{}\[\]:,：，])
    """,
    re.VERBOSE | re.DOTALL,
)
_BEGUN = re.compile(r"[\"'“”„‘’]|/\*")
_FENCE = re.compile(r"```|~~~")
_ELLIPSIS = re.compile(r"\.\.\.|…")
_PARTS = re.compile(r"([-+]?)([0-9]*)(\.[0-9]*)?(.*)")
_ESCAPE = re.compile(r'"|\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|\r\n|.)', re.DOTALL)
_LITERALS = {"true": "true", "false": "false", "null": "null", "none": "null"}
_NOT_FINITE = {"nan", "infinity", "inf", "-infinity", "-inf", "+infinity", "+inf"}
_WIDE = {"：": ":", "，": ","}
_CLOSES = {"{": "}", "[": "]"}


def rewrite(text: str, at: int) -> tuple[str, int]:
    """The object or list that starts at `at`, as strict JSON (but for raw control characters), and where it ends.

    Raises:
        Unreadable: there is no one way to read it.
    """
    writer = _Writer(text, at)
    while True:
        token = _TOKEN.match(text, writer.at)
        if token is None:
            return writer.stop()
        writer.take(str(token.lastgroup), token[0])
        writer.at = token.end()
        if not writer.open:
            return "".join(writer.out), writer.at


@dataclass(slots=True)
class _Writer:
    """What was read and where in the grammar it is.

    `open`: the brackets not yet closed. `expects`: `item` (a key, or a list's element), `colon`, `value`, `comma`.
    `comma`: one was read, and is written only before another item. `line_end`: one came since the last token that
    counts. `quoted`: the last key was. `is_object`: a quoted key with its colon, or a whole member, was read.
    """

    text: str
    at: int
    out: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    expects: str = "value"
    comma: bool = False
    line_end: bool = False
    quoted: bool = False
    is_object: bool = False
    last: str = ""

    def take(self, kind: str, token: str) -> None:
        """One token."""
        match kind:
            case "blank":
                self.line_end = self.line_end or "\n" in token
            case "comment" if _ELLIPSIS.search(token):
                self._refuse(Refusal.LEFT_OUT)
            case "string":
                self._key_or_value(quoted(token[1:-1]), is_quoted=True)
            case "number":
                self._number(token)
            case "word":
                self._word(token)
            case "mark":
                self._mark(_WIDE.get(token, token))
        self.last = kind
        self.line_end = self.line_end and kind in ("blank", "comment")

    def stop(self) -> tuple[str, int]:
        """The text ends or no token matches: close what is open, if what comes last is whole."""
        ends = self.at == len(self.text)
        if not ends and not _FENCE.match(self.text, self.at):
            self._no_token()
        whole = self.expects == "comma" or self.comma
        if not whole or (ends and self._may_go_on()):
            self._refuse(Refusal.CUT)
        closing = "".join(_CLOSES[bracket] for bracket in reversed(self.open))
        return "".join(self.out) + closing, self.at

    def _no_token(self) -> NoReturn:
        if _BEGUN.match(self.text, self.at):
            self.at = len(self.text)
            self._refuse(Refusal.CUT)
        self._refuse(Refusal.LEFT_OUT if _ELLIPSIS.match(self.text, self.at) else Refusal.BROKEN)

    def _may_go_on(self) -> bool:
        """Whether the last token may be longer than what is there of it; a line comment may even hold the brackets."""
        return self.last == "number" or (self.last == "comment" and not self.text.endswith("*/"))

    def _number(self, token: str) -> None:
        if self._wants_key():
            return self._key_or_value(f'"{token}"', is_quoted=False)
        sign, whole, part, exponent = _PARTS.findall(token)[0]
        if len(whole) > 1 and whole.startswith("0"):
            self._refuse(Refusal.BROKEN)
        fraction = ".0" if part == "." else part
        return self._value(f"{sign.replace('+', '')}{whole or '0'}{fraction}{exponent}")

    def _word(self, token: str) -> None:
        if self._wants_key():
            return self._key_or_value(f'"{token}"', is_quoted=False)
        if token.lower() in _NOT_FINITE:
            self._refuse(Refusal.NOT_FINITE)
        if token.lower() not in _LITERALS:
            cut = self.expects in ("item", "value") and self.at + len(token) == len(self.text)
            self._refuse(Refusal.CUT if cut else Refusal.BROKEN)
        return self._value(_LITERALS[token.lower()])

    def _mark(self, mark: str) -> None:
        if mark in "{[":
            self._opening(mark)
        elif mark in "}]":
            self._closing(mark)
        elif mark == ":" and self.expects == "colon":
            self.out.append(":")
            self.expects, self.is_object = "value", self.is_object or self.quoted
        elif mark == "," and self.expects == "comma":
            self.comma, self.expects = True, "item"
        else:
            self._refuse(Refusal.BROKEN)

    def _wants_key(self) -> bool:
        return self.expects == "item" and self.open[-1] == "{"

    def _key_or_value(self, written: str, is_quoted: bool) -> None:
        self._comma_at_line_end("{")
        if not self._wants_key():
            return self._value(written)
        self._write(written)
        self.expects, self.quoted = "colon", is_quoted
        return None

    def _comma_at_line_end(self, inside: str) -> None:
        if self.expects == "comma" and self.line_end and self.open[-1] == inside:
            self.comma, self.expects = True, "item"

    def _value(self, written: str) -> None:
        if self.expects not in ("item", "value") or self._wants_key():
            self._refuse(Refusal.BROKEN)
        self.is_object = self.is_object or (self.expects == "value" and self.open != [])
        self._write(written)
        self.expects = "comma"

    def _opening(self, bracket: str) -> None:
        if bracket == "{":
            self._comma_at_line_end("[")
        if len(self.open) == MAX_NESTING:
            self._refuse(Refusal.TOO_DEEP)
        self._value(bracket)
        self.open.append(bracket)
        self.expects = "item"

    def _closing(self, bracket: str) -> None:
        if self.expects not in ("item", "comma"):
            self._refuse(Refusal.BROKEN)
        if bracket == "}" and self.open[-2:] == ["{", "["]:
            # Anywhere earlier, a key would stand in the list or a plain value in the object.
            self._written("]")
        if _CLOSES[self.open[-1]] != bracket:
            self._refuse(Refusal.BROKEN)
        self._written(bracket)

    def _written(self, bracket: str) -> None:
        self.open.pop()
        self.out.append(bracket)
        self.comma, self.expects = False, "comma"

    def _write(self, written: str) -> None:
        self.out.append("," + written if self.comma else written)
        self.comma = False

    def _refuse(self, refusal: Refusal) -> NoReturn:
        is_object = self.is_object or refusal in (Refusal.TOO_DEEP, Refusal.CUT)
        raise Unreadable(refusal, self.at, is_object)


def quoted(body: str) -> str:
    """What stands between any quotes, as a JSON string (but for raw control characters)."""
    return '"' + _ESCAPE.sub(_escape, body) + '"'


def _escape(found: re.Match[str]) -> str:
    """A bare double quote or an escape, as JSON writes it."""
    text = found[0]
    match text[1:2]:
        case "":
            return '\\"'
        case "'" | "_":
            return text[1]
        case "\n" | "\r":
            return ""
        case "x" if len(text) == 4:
            return "\\u00" + text[2:]
        case letter if letter in '"\\/bfnrt' or len(text) == 6:
            return text
        case _:
            return "\\" + text
