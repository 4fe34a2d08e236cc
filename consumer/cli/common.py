"""What all commands share: one line per error and the right exit code, never a traceback."""

from __future__ import annotations

import asyncio
import functools
import json
import re
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from consumer.errors import SetupError, StoreError
from consumer.job import JOB_ID_PATTERN
from consumer.settings import load_settings
from consumer.sysexits import EX_INTERRUPTED, EX_NOINPUT, EX_UNAVAILABLE

if TYPE_CHECKING:
    from consumer.settings import ModelSettings
    from consumer.store import Store

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
# Older than any job, and young enough to be a time in every database.
LONGEST = timedelta(days=36_500)
_NO_TIME = "is neither a duration nor a time. Write for example 24h, 7d or 2026-01-31T08:00:00+01:00."

P = ParamSpec("P")
T = TypeVar("T")
Known = Callable[[StoreError], click.exceptions.Exit | None]


def fail(message: str, code: int) -> click.exceptions.Exit:
    """Say why on stderr, one line per finding; raise the result."""
    for line in message.splitlines():
        click.echo(f"consumer: {line}", err=True)
    return click.exceptions.Exit(code)


def command(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Run an async command; turns our errors into one line and an exit code."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return asyncio.run(function(*args, **kwargs))
        except SetupError as error:
            raise fail(str(error), error.exit_code) from error
        except StoreError as error:
            raise fail(f"the database did not answer as expected ({error}). Try again.", EX_UNAVAILABLE) from error
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise fail("interrupted", EX_INTERRUPTED) from None

    return wrapper


async def with_store(call: Callable[[Store], Awaitable[T]], known: Known = lambda error: None) -> T:
    """Call the database with the settings' key. `known` turns the errors that this call expects into an exit.

    Raises:
        SetupError: it did not answer, or not like a project of ours; one line says what to do.
    """
    from consumer.app import connected  # the settings are checked before the heavy imports
    from consumer.preflight import explained

    settings = load_settings()
    async with connected(settings) as store:
        try:
            return await call(store)
        except StoreError as error:
            raise known(error) or explained(error, settings.supabase_url) from error


def parse_since(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | timedelta | None:
    """A duration such as 90s, 30m, 24h, 7d or 2w, or a time (ISO 8601; UTC when it names no offset)."""
    if value is None:
        return None
    try:
        if duration := re.fullmatch(r"(\d{1,6})([smhdw])", value):
            return min(timedelta(seconds=int(duration[1]) * SECONDS[duration[2]]), LONGEST)
        at = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {_NO_TIME}") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def quiet_logs(settings: ModelSettings) -> None:
    """Only what is wrong, for commands whose words are their own."""
    from consumer.logs import configure_logs

    configure_logs("WARNING" if settings.log_level == "INFO" else settings.log_level, settings.log_format)


def no_such_job(job_id: str) -> click.exceptions.Exit:
    """Say so; raise the result."""
    return fail(f"there is no job {job_id!r}. Check the id.", EX_NOINPUT)


def checked_job_id(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """No job can have an id of another form, so the database need not be asked."""
    if value is not None and not re.fullmatch(JOB_ID_PATTERN, value):
        raise no_such_job(value)
    return value


def print_json(value: object) -> None:
    """Data for programs, on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))
