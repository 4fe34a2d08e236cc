"""`consumer dev`: the embedded stack alone, up until Ctrl-C. Data on stdout, words on stderr."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from devstack.errors import DevStackError
from devstack.keys import TEN_YEARS
from devstack.stack import DevStack, default_home

_ENV_FILE = "dev.env"


async def serve(home: Path | None, *, port: int, as_env: bool) -> None:
    """Run the stack until SIGINT or SIGTERM; with `as_env` print KEY=VALUE lines, of a running stack if there is one.

    Raises:
        DevStackError: it cannot start.
    """
    folder = home or default_home()
    if as_env and _is_running(folder):
        sys.stdout.write((folder / _ENV_FILE).read_text())
        return
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with DevStack(folder, port=port) as stack:
        lines = stack.env | {"SUPABASE_USER_TOKEN": _token(stack)}
        _write_private(folder / _ENV_FILE, _as_env(lines))
        sys.stdout.write(_as_env(lines) if as_env else _as_table(lines))
        sys.stdout.flush()
        sys.stderr.write("The embedded stack is up (development only). Ctrl-C stops it.\n")
        await stopped.wait()


def _token(stack: DevStack) -> str:
    """A signed-in user's token that outlives every session of the stack."""
    return stack.keys.user_token(stack.user()[0], expires_in=TEN_YEARS)


def _as_env(lines: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def _as_table(lines: Mapping[str, str]) -> str:
    return "".join(f"{name:28} {value}\n" for name, value in lines.items())


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _is_running(folder: Path) -> bool:
    try:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError as error:
        if not (folder / _ENV_FILE).exists():
            raise DevStackError(
                f"a stack is starting in {folder}: {os.strerror(error.errno or 0)}. Try again."
            ) from error
        return True
    return False
