"""The doctor's looks at this host: the packages that are installed, the extras, the disk. Called by `doctor`."""

from __future__ import annotations

import platform
import re
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from consumer.checkup import Finding, failed, ok, skipped, warning
from consumer.settings import Settings
from consumer.sysexits import EX_CONFIG

PACKAGE = "workflow-consumer"
LEAST_FREE = 1_000_000_000
# The packages of each extra (pyproject.toml, held by a test): the metadata of an older installation may not know them.
EXTRAS = {
    "http": ("fastapi", "prometheus-client", "pyjwt", "uvicorn"),
    "otel": ("opentelemetry-exporter-otlp-proto-http", "opentelemetry-sdk"),
    "redis": ("redis",),
}
# extra, variable, attribute of the settings that is None where it is not used
_USED = (
    ("http", "HTTP_LISTEN", "http_listen"), ("otel", "OTEL_EXPORTER_OTLP_ENDPOINT", "traces_url"),
    ("redis", "REDIS_URL", "redis_url"),
)  # fmt: skip
_PIN = re.compile(r"([\w.-]+)==([\w.]+)")


async def packages() -> Finding:
    """Whether what is pinned is installed as it is pinned."""
    pins = {found[1]: found[2] for text in requires(PACKAGE) or () if (found := _PIN.fullmatch(text))}
    other = [f"{name} {_version(name) or 'missing'} (not {pin})" for name, pin in pins.items() if _version(name) != pin]
    names = ", ".join([f"consumer {_version(PACKAGE)}", *(f"{name} {_version(name)}" for name in pins)])
    if other:
        return warning(f"installed: {', '.join(other)}", f"Run: pip install --upgrade {PACKAGE}")
    return ok(f"Python {platform.python_version()}, {names}")


async def extras(settings: Settings | None) -> Finding:
    """Which extras are installed; the settings tell which are needed."""
    missing = [extra for extra, names in EXTRAS.items() if not all(map(_version, names))]
    for extra, variable, used in _USED:
        if extra in missing and settings is not None and getattr(settings, used) is not None:
            advice = f'Run: pip install "{PACKAGE}[{extra}]"'
            return failed(f"{variable} is set, but the extra {extra!r} is not installed", advice, EX_CONFIG)
    present = ", ".join(extra for extra in EXTRAS if extra not in missing) or "none"
    return ok(f"installed: {present}" + (f"; not installed: {', '.join(missing)}" if missing else ""))


async def redis(settings: Settings | None) -> Finding:
    """Whether the Redis of REDIS_URL can be used."""
    if settings is None or settings.redis_url is None:
        return skipped("REDIS_URL is not set")
    from consumer.redis_client import RedisAway, RedisClient

    client = RedisClient(settings.redis_url, project=settings.supabase_url)
    try:
        await client.connect()
    except RedisAway as error:
        advice = "Until it is back every idle worker looks at each new job, as without REDIS_URL"
        return warning(f"REDIS_URL: {error}".rstrip("."), advice)
    finally:
        await client.aclose()
    return ok("answers, and can be written")


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


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
