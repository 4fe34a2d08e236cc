"""The parts that a PostgREST URL is made of, as data. Made by `grammar`, read by `sql`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Field:
    """A column, or a place inside a JSON column: `path` is pairs of an arrow (-> or ->>) and a key."""

    name: str
    path: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of select=; the name `*` means every column."""

    field: Field
    alias: str | None = None
    cast: str | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """One comparison; `value` is a tuple for `in`."""

    field: Field
    operator: str
    value: str | tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Tree:
    """Conditions joined by and/or."""

    joiner: Literal["and", "or"]
    parts: tuple[Filter | Tree, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """One entry of order=; empty strings mean the default of the database."""

    field: Field
    direction: str = ""
    nulls: str = ""


Condition = Filter | Tree
