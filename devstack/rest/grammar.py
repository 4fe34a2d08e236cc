"""The little languages inside a PostgREST URL: select lists, filters, logic trees, orders. Called by `query`.

A `Reader` walks over one parameter; everything it returns is data, nothing is SQL yet.
"""

from __future__ import annotations

import re
from typing import NoReturn

from devstack.rest.errors import RestError
from devstack.rest.terms import Condition, Field, Filter, Item, Order, Tree

OPERATORS = (
    "eq", "neq", "gte", "gt", "lte", "lt", "like", "ilike", "match", "imatch", "in", "isdistinct", "is", "cs", "cd",
    "ov",
)  # fmt: skip
IS_VALUES = ("null", "not_null", "true", "false", "unknown")
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_NAME = rf"{_QUOTED}|[\w$][\w$ ]*(?:-(?!>)[\w$ ]+)*"
_KEY = rf"{_QUOTED}|-?[^\s\"\-,.:()>]+"
_CAST = r"[A-Za-z_][A-Za-z0-9_ ]*(?:\(\d{1,4}(?:,\d{1,4})?\))?(?:\[\])*"
_AGGREGATE = r"(?:\.(?:sum|avg|max|min|count))?\(\)"


class Reader:
    """A cursor over one query parameter."""

    def __init__(self, text: str, what: str) -> None:
        self.text = text
        self._what = what
        self._at = 0

    def fail(self, expecting: str) -> NoReturn:
        """Raise PGRST100 at the cursor."""
        found = f'"{self.text[self._at]}"' if self._at < len(self.text) else "end of input"
        message = f'"failed to parse {self._what} ({self.text})" (line 1, column {self._at + 1})'
        raise RestError(400, "PGRST100", message, f"unexpected {found} expecting {expecting}")

    def take(self, pattern: str) -> str | None:
        """Consume what matches at the cursor."""
        match = re.compile(pattern, re.DOTALL).match(self.text, self._at)
        if match is None:
            return None
        self._at = match.end()
        return match[0]

    def need(self, pattern: str, expecting: str) -> str:
        """Consume what matches at the cursor or fail."""
        found = self.take(pattern)
        return self.fail(expecting) if found is None else found

    def end(self, expecting: str) -> None:
        """Fail unless everything was consumed."""
        if self._at < len(self.text):
            self.fail(expecting)

    def back(self, text: str) -> None:
        """Un-consume `text`."""
        self._at -= len(text)


def unquote(text: str) -> str:
    """A name or value without its double quotes and backslashes."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
    return text


def field(reader: Reader) -> Field:
    """`name`, `name->key->>key`, `name->0`."""
    name = unquote(reader.need(_NAME, "field name (* or [a..z0..9_$])").strip())
    path = []
    while arrow := reader.take("->>?"):
        path.append((arrow, unquote(reader.need(_KEY, "a JSON key"))))
    return Field(name, tuple(path))


def select(text: str) -> tuple[Item, ...]:
    """A select list: columns with aliases, casts and JSON paths.

    Raises:
        RestError: 400 PGRST100 for bad syntax, PGRST123 for aggregates, PGRST200 for related tables.
    """
    reader = Reader(text, "select parameter")
    items = [_item(reader)]
    while reader.take(","):
        items.append(_item(reader))
    reader.end('"," or end of input')
    return tuple(items)


def _item(reader: Reader) -> Item:
    if reader.take(r"\*"):
        return Item(Field("*"))
    spread = reader.take(r"\.\.\.")
    if reader.take(r"count\(\)"):
        _no_aggregates()
    first = field(reader)
    alias = None
    if not first.path and reader.take(":(?!:)"):
        alias, first = first.name, field(reader)
    if reader.take(_AGGREGATE):
        _no_aggregates()
    if spread or reader.take(r"(?:![\w$]+)*\("):
        raise RestError(400, "PGRST200", first.name)  # `query` knows the table and completes the sentence
    cast = reader.need(_CAST, "a type name") if reader.take("::") else None
    return Item(first, alias, cast)


def _no_aggregates() -> NoReturn:
    raise RestError(400, "PGRST123", "Use of aggregate functions is not allowed")


def comparison(where: Field, text: str) -> Filter:
    """A filter parameter's value such as `eq.5` or `not.in.(1,2)`."""
    reader = Reader(text, "filter")
    found = _comparison(reader, where, nested=False)
    reader.end("end of input")
    return found


def is_comparison(text: str) -> bool:
    """Whether a value is written as a filter, so that `?a=5` of an rpc is an argument and `?a=eq.5` is not."""
    return re.match(rf"(?:not\.)?(?:{'|'.join(OPERATORS)})\.", text) is not None


def _comparison(reader: Reader, where: Field, *, nested: bool) -> Filter:
    negated = reader.take(r"not\.") is not None
    operator = reader.need(rf"(?:{'|'.join(OPERATORS)})(?=\.)", "operator (eq, gt, ...)")
    reader.need(r"\.", '"."')
    if operator == "in":
        return Filter(where, operator, _list(reader), negated)
    if operator == "is":
        choice = reader.need(r"[A-Za-z_]+", "isVal").lower()
        if choice not in IS_VALUES:
            reader.back(choice)
            reader.fail(f"isVal: ({', '.join(IS_VALUES)})")
        return Filter(where, operator, choice, negated)
    return Filter(where, operator, _value(reader) if nested else reader.take(".*") or "", negated)


def _value(reader: Reader) -> str:
    """A value inside a logic tree: quoted, a {array}, or up to the next comma or bracket."""
    return unquote(reader.take(rf"{_QUOTED}(?=[,)])|\{{[^{{}}]*\}}|[^,)]*") or "")


def _list(reader: Reader) -> tuple[str, ...]:
    reader.need(r"\(", '"("')
    values: list[str] = []
    if reader.take(r"\)"):
        return ()
    while True:
        values.append(unquote(reader.take(rf"{_QUOTED}(?=[,)])|[^,)]*") or ""))
        if not reader.take(","):
            break
    reader.need(r"\)", '")" or ","')
    return tuple(values)


def tree(joiner: str, text: str, *, negated: bool) -> Tree:
    """A logic tree such as `(a.eq.1,and(b.gt.2,c.is.null))`."""
    reader = Reader(text, "logic tree")
    found = _tree(reader, joiner, negated=negated, depth=0)
    reader.end("end of input")
    return found


def _tree(reader: Reader, joiner: str, *, negated: bool, depth: int) -> Tree:
    reader.need(r"\(", '"("')
    parts = [_node(reader, depth)]
    while reader.take(","):
        parts.append(_node(reader, depth))
    reader.need(r"\)", '"," or ")"')
    return Tree("or" if joiner == "or" else "and", tuple(parts), negated)


def _node(reader: Reader, depth: int) -> Condition:
    if depth > 50:
        reader.fail("a shallower tree")
    if start := reader.take(r"(?:not\.)?(?:and|or)(?=\()"):
        return _tree(reader, start.removeprefix("not."), negated=start.startswith("not."), depth=depth + 1)
    where = field(reader)
    reader.need(r"\.", '"."')
    return _comparison(reader, where, nested=True)


def order(text: str) -> tuple[Order, ...]:
    """An order list such as `created_at.desc.nullslast,id`."""
    reader = Reader(text, "order")
    found = [_order(reader)]
    while reader.take(","):
        found.append(_order(reader))
    reader.end('"," or end of input')
    return tuple(found)


def _order(reader: Reader) -> Order:
    where = field(reader)
    direction = reader.take(r"\.(?:asc|desc)(?![a-z])") or ""
    nulls = reader.take(r"\.nulls(?:first|last)(?![a-z])") or ""
    if reader.take(r"\."):
        reader.fail('"asc", "desc", "nullsfirst" or "nullslast"')
    return Order(where, direction[1:], nulls[1:])


def names(text: str, what: str) -> tuple[str, ...]:
    """A plain list of column names (columns=, on_conflict=)."""
    reader = Reader(text, what)
    found = [field(reader).name]
    while reader.take(","):
        found.append(field(reader).name)
    reader.end('"," or end of input')
    return tuple(found)
