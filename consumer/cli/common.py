"""What all commands share: one line per error and the right exit code, never a traceback."""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import click

from consumer.errors import EX_UNAVAILABLE, SetupError, StoreError

P = ParamSpec("P")
T = TypeVar("T")


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
            raise fail("interrupted", 130) from None

    return wrapper


def print_json(value: object) -> None:
    """Data for programs, on stdout."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")
