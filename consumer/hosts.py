"""Hosts: which are this machine, and how one is written with its port. Called by the adapters and the settings."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_NAME = re.compile(r"(?=.{1,253}$)(?![0-9]+$)[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_PLACE = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<name>[^\[\]:]*))(?::(?P<port>[0-9]{1,5}))?")
MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Place:
    """A host, without brackets, and a port; None where none was written."""

    host: str
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


def parse_place(text: str, host: str = "") -> Place:
    """Read `HOST`, `HOST:PORT` or `:PORT` (then `host` is meant); IPv6 in brackets.

    Raises:
        ValueError: it is none; says why.
    """
    found = _PLACE.fullmatch(text)
    if found is None:
        raise ValueError("is not HOST:PORT (an IPv6 address is written in brackets)")
    port = None if found["port"] is None else int(found["port"])
    if port is not None and port > MAX_PORT:
        raise ValueError(f"has a port over {MAX_PORT}")
    if found["v6"] is not None and not _is_v6(found["v6"]):
        raise ValueError("has something in brackets that is no IPv6 address")
    name = found["v6"] or found["name"] or host
    if not (_is_v6(name) or _NAME.fullmatch(name)):
        raise ValueError("has no usable host")
    return Place(name, port)


def parse_origins(text: str) -> list[str]:
    """Read origins of pages, with commas between.

    Raises:
        ValueError: one of them is none; says which.
    """
    origins = [origin for each in text.split(",") if (origin := each.strip())]
    for origin in origins:
        scheme, _, place = origin.partition("://")
        if scheme not in ("http", "https") or not place:
            raise ValueError(f"{origin!r} is not an origin")
        parse_place(place)
    return origins


def is_local(host: str) -> bool:
    """Whether `host` is this machine, which no proxy of the environment can reach."""
    return is_loopback(host) or _is_unspecified(host)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`; the addresses that mean all interfaces are not among them."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def _is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _is_v6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False
