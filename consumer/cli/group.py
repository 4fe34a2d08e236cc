"""The group of all commands: whatever ends one from outside ends it quietly or in one line. Called by the package."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from consumer.cli.common import fail
from consumer.sysexits import EX_IOERR, EX_USAGE

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Commands(click.Group):
    """One line for a wrong command line, too. A reader who has left is no error: click ends quietly."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options before the command."""
        with _one_line(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and see that what it has printed is out."""
        try:
            with _one_line(ctx):
                result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            # what is still buffered would fail once more, loudly, when the program ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise fail(f"standard output: {error.strerror}. Write it somewhere else.", EX_IOERR) from error
        return result


@contextmanager
def _one_line(group: click.Context) -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        said = " ".join(error.format_message().split())
        place = " ".join(filter(None, (group.command_path, group.invoked_subcommand)))
        raise fail(f"{said.removesuffix('.')}. See: {place} --help", EX_USAGE) from error
