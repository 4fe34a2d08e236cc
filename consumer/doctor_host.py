"""The doctor's looks at this host: the packages that are installed, the extras, the disk. Called by `doctor`."""

from __future__ import annotations

import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from consumer.checkup import Finding, failed, ok, warning
from consumer.errors import EX_CONFIG
from consumer.settings import Settings

PACKAGE = "workflow-consumer"
LEAST_FREE = 1_000_000_000
# name, pinned version, extra, as they are written in a package's metadata
_REQUIREMENT = re.compile(r"""([\w.-]+)(?:\[[^]]*\])?\s*(?:==([\w.]+))?[^;]*(?:;.*extra\s*==\s*["'](\w+)["'])?""")
_EXTRAS = ("http", "otel", "redis")


async def packages() -> Finding:
    """Whether what is pinned is installed as it is pinned."""
    pins = {name: pin for name, pin, extra in _requirements() if pin and not extra}
    other = [f"{name} {_version(name) or 'missing'} (not {pin})" for name, pin in pins.items() if _version(name) != pin]
    names = ", ".join([f"consumer {_version(PACKAGE)}", *(f"{name} {_version(name)}" for name in pins)])
    if other:
        return warning(f"installed: {', '.join(other)}", f"Run: pip install --upgrade {PACKAGE}")
    return ok(f"Python {platform.python_version()}, {names}")


async def extras(settings: Settings | None) -> Finding:
    """Which extras are installed; the settings tell which are needed."""
    missing = [
        extra for extra in _EXTRAS if any(_version(name) is None for name, _, of in _requirements() if of == extra)
    ]
    for extra, variable, used in (("http", "HTTP_LISTEN", "http_listen"), ("redis", "REDIS_URL", "redis_url")):
        if extra in missing and settings is not None and getattr(settings, used) is not None:
            advice = f'Run: pip install "{PACKAGE}[{extra}]"'
            return failed(f"{variable} is set, but the extra {extra!r} is not installed", advice, EX_CONFIG)
    present = ", ".join(extra for extra in _EXTRAS if extra not in missing) or "none"
    return ok(f"installed: {present}" + (f"; not installed: {', '.join(missing)}" if missing else ""))


async def disk() -> Finding:
    """Whether there is room where logs and temporary files go."""
    try:
        places = {Path.cwd(), Path(tempfile.gettempdir())}
    except FileNotFoundError:
        return warning("there is no writable folder for temporary files", "Set TMPDIR to one")
    free = {place: shutil.disk_usage(place).free for place in sorted(places)}
    for place, left in free.items():
        if left < LEAST_FREE:
            return warning(
                f"{left / 1e6:.0f} MB free in {place}", "Free some space: logs and systemd's journal need it"
            )
    return ok(", ".join(f"{left / 1e9:.0f} GB free in {place}" for place, left in free.items()))


def _requirements() -> Iterator[tuple[str, str, str]]:
    for text in requires(PACKAGE) or ():
        if found := _REQUIREMENT.match(text):
            yield found[1], found[2] or "", found[3] or ""


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
