"""Commands of the host: unit."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from consumer.unit import ENV_FILE, KEY_FILE, Unit


def _path(context: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    """An absolute path that a unit can hold as it is written."""
    if value is None:
        return None
    path = Path(value).absolute()
    if not re.fullmatch(r"[A-Za-z0-9_./@+:,=-]+", str(path)):
        raise click.BadParameter(f"{str(path)!r} has characters that need quoting in a unit. Choose a plain path.")
    return path


def _user(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", value):
        raise click.BadParameter(f"{value!r} is no name of a user. Give one that the host has, e.g. workflow.")
    return value


@click.command()
@click.option("--template", is_flag=True, help="For several workers on one host: workflow-consumer@1, @2, …")
@click.option("--user", callback=_user, help="Run as this user; by default as one that systemd makes up (DynamicUser).")
@click.option(
    "--env-file", callback=_path, default=str(ENV_FILE), show_default=True, help="The file with the settings."
)
@click.option(
    "--key-file", callback=_path, default=str(KEY_FILE), show_default=True,
    help="The file with the service role key; it may be empty.",
)  # fmt: skip
@click.option("--program", callback=_path, default=lambda: str(_this_program()),
              help="The command to start; by default the one that prints this.")  # fmt: skip
def unit(template: bool, user: str | None, env_file: Path, key_file: Path, program: Path) -> None:
    """Print the systemd unit for this installation.

    \b
    Example:
      consumer unit > /etc/systemd/system/workflow-consumer.service
      consumer unit --template > /etc/systemd/system/workflow-consumer@.service
    """
    needed = (Path(sys.base_prefix).resolve(),)
    click.echo(Unit(program, needed, env_file, key_file, user, template).text(), nl=False)


def _this_program() -> Path:
    """The command as it was called, so that a link to the current release stays one; else the one beside Python."""
    called = Path(sys.argv[0])
    return called if called.name == "consumer" and called.is_file() else Path(sys.executable).parent / "consumer"
