"""How the values of some config fields must be written (contract §6). Used by the node rules and the repair."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Literal
from zoneinfo import available_timezones

Format = Literal["interval", "time", "timezone", "datetime", "decimal", "cents"]

_INTERVAL = re.compile("[1-9][0-9]{0,8}[smh]")
_TIME = re.compile("(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_DECIMAL = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,8})?")

# What to write, for messages.
WANTED: Mapping[Format, str] = {
    "interval": "a number and s, m or h, such as 5m",
    "time": "a time of the day as HH:MM, such as 09:00",
    "timezone": "an IANA time zone, such as Asia/Kolkata",
    "datetime": "a date and time in ISO 8601, such as 2026-01-31T09:00:00Z",
    "decimal": "a decimal number as text, such as 19.99",
    "cents": "a whole number of cents, such as 1999",
}


def follows(form: Format, value: object) -> bool:
    """Whether the value is written that way. Of a wrong type, it is not."""
    return _CHECKS[form](value)


@cache
def zones() -> Mapping[str, str]:
    """The IANA time zones that this machine and the package tzdata know, by their names in lower case."""
    return {name.lower(): name for name in sorted(available_timezones())}


def _matches(pattern: re.Pattern[str]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_zone(value: object) -> bool:
    return isinstance(value, str) and zones().get(value.lower()) == value


def _is_datetime(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value) is not None
    except ValueError:
        return False


def _is_cents(value: object) -> bool:
    return isinstance(value, int | float) and value >= 0 and float(value).is_integer()


_CHECKS: Mapping[Format, Callable[[object], bool]] = {
    "interval": _matches(_INTERVAL),
    "time": _matches(_TIME),
    "timezone": _is_zone,
    "datetime": _is_datetime,
    "decimal": _matches(_DECIMAL),
    "cents": _is_cents,
}
