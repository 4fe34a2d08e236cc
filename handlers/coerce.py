"""Brings a config value to its field's type, where that loses nothing. Old editors send every value as a string."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from schemas.catalog import Field, FieldType
from schemas.formats import zones
from schemas.rules_nodes import stands_in

_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

# A time with seconds of zero is the same time.
_TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::00)?")
_INTERVAL = re.compile(r"(?i)(?:every )?([0-9]{1,6}) ?(s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?)")


def coerce(field: Field, value: Any) -> Any:
    """The value in the field's type, or as it is when that is not possible; templates stay."""
    if stands_in(field, value) and field.type != "string":
        return value
    return _by_format(field, _by_option(field, _BY_TYPE[field.type](value)))


def _by_option(field: Field, value: Any) -> Any:
    """`post` for the option `POST`."""
    if not field.options or not isinstance(value, str):
        return value
    return next((option for option in field.options if option.lower() == value.strip().lower()), value)


def _by_format(field: Field, value: Any) -> Any:
    """`9:00` for the time `09:00`, `5 minutes` for the interval `5m`, `europe/berlin` for the time zone."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if field.format == "time" and (match := _TIME.fullmatch(text)) is not None:
        return f"{int(match[1]):02d}:{match[2]}"
    if field.format == "interval" and (match := _INTERVAL.fullmatch(text)) is not None:
        return f"{int(match[1])}{match[2][0].lower()}"
    return zones().get(text.lower().replace(" ", "_"), value) if field.format == "timezone" else value


def _string(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) and value else value


def _number(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        number = float(value.strip())
    except ValueError:
        return value
    if not math.isfinite(number):
        return value
    return int(number) if number.is_integer() else number


def _boolean(value: Any) -> Any:
    return _BOOLEANS.get(str(value).strip().lower(), value) if isinstance(value, str | int) else value


def _array(value: Any) -> Any:
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, str) or not value.strip():
        return value
    parsed = _parsed(value)
    if isinstance(parsed, list):
        return parsed
    return [part.strip() for part in value.split(",") if part.strip()]


def _object(value: Any) -> Any:
    value = _parsed(value) if isinstance(value, str) else value
    pairs = value if isinstance(value, list) and value else None
    if pairs and all(isinstance(pair, dict) and set(pair) == {"name", "value"} for pair in pairs):
        return {str(pair["name"]): pair["value"] for pair in pairs}
    return value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


_BY_TYPE: Mapping[FieldType, Callable[[Any], Any]] = {
    "string": _string,
    "number": _number,
    "boolean": _boolean,
    "array": _array,
    "object": _object,
}
