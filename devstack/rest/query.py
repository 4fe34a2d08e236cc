"""The query string of a request as typed data. Called by `api`; `sql` turns it into SQL.

Reserved parameters are select, columns, order, limit, offset, on_conflict, and/or (with not.); the others are filters,
or, on a GET of an rpc, arguments. A value ends at %00 and a plus is a blank, as on the real server (traces/postgrest.md
§4.12, §4.13).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote_to_bytes

from devstack.rest import grammar
from devstack.rest.errors import RestError, unsatisfiable_range
from devstack.rest.grammar import Reader
from devstack.rest.terms import Condition, Field, Item, Order

MAX_BIGINT = 2**63 - 1
STAR = Item(Field("*"))
NO_EMBEDDING = "The embedded dev stack does not join related tables: select each table by itself."


@dataclass(frozen=True, slots=True)
class Query:
    """One parsed query string; `limit` None means no limit, `columns` None means those of the body."""

    select: tuple[Item, ...] = (STAR,)
    where: tuple[Condition, ...] = ()
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    columns: tuple[str, ...] | None = None
    on_conflict: tuple[str, ...] = ()
    arguments: tuple[tuple[str, str], ...] = ()


def pairs(query_string: bytes) -> list[tuple[str, str]]:
    """Decoded name-value pairs.

    Raises:
        UnicodeDecodeError: not UTF-8; the real server answers a plain 500 (trace sel-bad-utf8-filter).
    """
    found = (part.partition(b"=") for part in query_string.split(b"&") if part)
    return [(_decode(name), _decode(value)) for name, _, value in found]


def parse(parameters: list[tuple[str, str]], *, table: str, arguments: bool) -> Query:
    """A query string's meaning; `arguments` when plain values are arguments of the function called.

    Raises:
        RestError: 400 for bad syntax, 416 for a negative limit.
    """
    values = {name: value.split("\0")[0] for name, value in parameters}
    where: list[Condition] = []
    plain = []
    for name, text in parameters:
        value = text.split("\0")[0]
        if logic := re.fullmatch(r"(not\.)?(and|or)", name):
            where.append(grammar.tree(logic[2], value, negated=bool(logic[1])))
        elif name in _RESERVED:
            continue
        elif arguments and not grammar.is_comparison(value):
            plain.append((name, value))
        else:
            where.append(grammar.comparison(_filtered(name), value))
    return Query(
        _select(values.get("select", ""), table), tuple(where),
        grammar.order(values["order"]) if values.get("order") else (),
        _limit(values.get("limit", "")), _offset(values.get("offset", "")),
        grammar.names(values["columns"], "columns parameter") if values.get("columns") else None,
        grammar.names(values["on_conflict"], "on_conflict parameter") if values.get("on_conflict") else (),
        tuple(plain),
    )  # fmt: skip


def with_range(query: Query, header: str | None) -> Query:
    """The query cut to a Range header such as `0-9` or `10-`; anything unreadable is ignored.

    Raises:
        RestError: 416 PGRST103 when the range ends before it starts.
    """
    found = re.fullmatch(r"(\d{1,18})-(\d{0,18})", (header or "").strip())
    if found is None:
        return query
    first = max(query.offset, int(found[1]))
    ends = [query.offset + query.limit - 1] if query.limit is not None else []
    ends += [int(found[2])] if found[2] else []
    if found[2] and int(found[2]) < int(found[1]):
        raise unsatisfiable_range(
            "The lower boundary must be lower than or equal to the upper boundary in the Range header."
        )
    limit = max(0, min(ends) - first + 1) if ends else None
    return replace(query, limit=limit, offset=first)


def location(path: str, parameters: list[tuple[str, str]]) -> str:
    """The canonical address of a read, for Content-Location: parameters sorted, repeated ones joined by a comma."""
    merged: dict[str, list[str]] = {}
    for name, value in parameters:
        merged.setdefault(quote(name, safe=""), []).append(quote(value, safe=""))
    query = "&".join(f"{name}={','.join(values)}" for name, values in sorted(merged.items()))
    return f"{quote(path)}?{query}" if query else quote(path)


_RESERVED = frozenset({"select", "columns", "order", "limit", "offset", "on_conflict"})


def _decode(raw: bytes) -> str:
    return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8")


def _filtered(name: str) -> Field:
    reader = Reader(name.split("\0")[0], "filter")
    found = grammar.field(reader)
    reader.end("end of input")
    return found


def _select(text: str, table: str) -> tuple[Item, ...]:
    try:
        return grammar.select(text) if text else (STAR,)
    except RestError as error:
        if error.code != "PGRST200":
            raise
        message = f"Could not find a relationship between '{table}' and '{error.message}' in the schema cache"
        details = (
            f"Searched for a foreign key relationship between '{table}' and '{error.message}' in the schema 'public',"
            " but no matches were found."
        )
        raise RestError(400, "PGRST200", message, details, NO_EMBEDDING) from None


def _limit(text: str) -> int | None:
    if not re.fullmatch(r"-?\d+", text):
        return None
    if int(text[:25]) < 0:
        raise unsatisfiable_range("Limit should be greater than or equal to zero.")
    return min(int(text[:25]), MAX_BIGINT)


def _offset(text: str) -> int:
    return min(int(text[:25]), MAX_BIGINT) if re.fullmatch(r"\d+", text) else 0
