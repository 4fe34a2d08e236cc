"""Calls of database functions: which overload is meant, and its SQL. Called by `plans`.

Sources: traces/postgrest.md §3 (PGRST202, PGRST203) and the trace groups rpc-args, rpc-return.
"""
# ruff: noqa: S608 - as in `sql`: only quoted identifiers and catalogue types reach the text

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from devstack.rest import sql
from devstack.rest.cache import Function, Parameter, SchemaCache
from devstack.rest.errors import RestError
from devstack.rest.hints import nearest
from devstack.rest.sql import Arguments, ident

JSON_BODY, TEXT_BODY, XML_BODY, NO_BODY = "json", "text", "xml", ""
_UNNAMED = {JSON_BODY: ("json", "jsonb"), TEXT_BODY: ("text",), XML_BODY: ("xml",), NO_BODY: ()}


@dataclass(frozen=True, slots=True)
class Given:
    """What a caller passes: a JSON body, a raw body for a single unnamed parameter, or strings by name.

    `document` is the body's text (of an array the first object counts). `strings` are values of a query string or form,
    to be read as the type of their parameter; then there is no document.
    """

    names: frozenset[str]
    kind: str
    document: str = ""
    is_array: bool = False
    strings: Mapping[str, list[str]] | None = None


def from_pairs(pairs: Iterable[tuple[str, str]]) -> Given:
    """Arguments of a query string or form; of a repeated name the last value counts, all if it is variadic."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return Given(frozenset(values), NO_BODY, strings=values)


def choose(cache: SchemaCache, name: str, given: Given) -> Function:
    """The overload that takes exactly these arguments.

    Raises:
        RestError: 404 PGRST202 when there is none, 300 PGRST203 when several do.
    """
    overloads = cache.functions.get(name, ())
    found = [function for function in overloads if _takes(function, given)]
    found = found or [function for function in overloads if _takes_body(function, given)]
    if len(found) > 1:
        raise _ambiguous(found)
    if not found:
        raise _unknown(cache, name, given, overloads)
    return found[0]


def call(function: Function, given: Given, arguments: Arguments) -> tuple[str, str]:
    """The FROM source that supplies the arguments, and the call expression itself."""
    if _takes_body(function, given) and not _takes(function, given):
        value = f"{arguments.bind(given.document)}::text::{function.parameters[0].type}"
        return "", f'"public".{ident(function.name)}({value})'
    passed = [parameter for parameter in function.parameters if parameter.name in given.names]
    if not passed:
        return "", f'"public".{ident(function.name)}()'
    types = {parameter.name: _declared(parameter, given) for parameter in passed}
    document = f"{arguments.bind(_document(passed, given))}::json" + (" -> 0" if given.is_array else "")
    values = ", ".join(_passed(parameter, given) for parameter in passed)
    source = sql.record(f"json_to_record({document})", types)
    return f"(select * from {source}) as pgrst_args, lateral ", f'"public".{ident(function.name)}({values})'


def _document(passed: list[Parameter], given: Given) -> str:
    if given.strings is None:
        return given.document
    values = {each.name: given.strings[each.name] for each in passed}
    return json.dumps({each.name: values[each.name] if each.variadic else values[each.name][-1] for each in passed})


def _declared(parameter: Parameter, given: Given) -> str:
    return "text" if given.strings is not None and not parameter.variadic else parameter.type


def _passed(parameter: Parameter, given: Given) -> str:
    cast = f"::{parameter.type}" if given.strings is not None else ""
    variadic = "variadic " if parameter.variadic else ""
    return f"{variadic}{ident(parameter.name)} := pgrst_args.{ident(parameter.name)}{cast}"


def _takes(function: Function, given: Given) -> bool:
    named = {parameter.name for parameter in function.parameters}
    required = {parameter.name for parameter in function.parameters if parameter.required}
    return "" not in named and given.kind in (JSON_BODY, NO_BODY) and required <= given.names <= named


def _takes_body(function: Function, given: Given) -> bool:
    if [parameter.name for parameter in function.parameters] != [""]:
        return False
    return function.parameters[0].label in _UNNAMED[given.kind]


def _ambiguous(found: list[Function]) -> RestError:
    shown = ", ".join(
        f"public.{function.name}({', '.join(f'{each.name} => {each.label}' for each in function.parameters)})"
        for function in found
    )
    hint = "Try renaming the parameters or the function itself in the database so function overloading can be resolved"
    return RestError(300, "PGRST203", f"Could not choose the best candidate function between: {shown}", None, hint)


def _unknown(cache: SchemaCache, name: str, given: Given, overloads: tuple[Function, ...]) -> RestError:
    names = sorted(given.names)
    if not names or given.kind in (TEXT_BODY, XML_BODY):
        shown = f"public.{name}" if given.kind in (TEXT_BODY, XML_BODY) else f"public.{name} without parameters"
    else:
        shown = f"public.{name}({', '.join(names)})"
    details = f"Searched for the function public.{name} {_searched(names, given.kind)}, but no matches were found"
    return RestError(
        404, "PGRST202", f"Could not find the function {shown} in the schema cache", f"{details} in the schema cache.",
        _hint(cache, name, names, overloads),
    )  # fmt: skip


def _searched(names: list[str], kind: str) -> str:
    if kind in (TEXT_BODY, XML_BODY):
        return f"with a single unnamed {kind} parameter"
    plural = "parameter" if len(names) == 1 else "parameters"
    named = f"with {plural} {', '.join(names)}" if names else "without parameters"
    return f"{named} or with a single unnamed json/jsonb parameter" if kind == JSON_BODY else named


def _hint(cache: SchemaCache, name: str, names: list[str], overloads: tuple[Function, ...]) -> str | None:
    if not overloads:
        near = nearest(name, cache.functions)
        return f"Perhaps you meant to call the function public.{near}" if near else None
    signatures = [_signature(parameter.name for parameter in function.parameters) for function in overloads]
    near = nearest(_signature(names), signatures)
    return f"Perhaps you meant to call the function public.{name}{near}" if near else None


def _signature(names: Iterable[str]) -> str:
    return f"({', '.join(sorted(names))})"
