"""Commands about this installation: config (the effective settings) and completion (for the shell)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import get_completion_class

from consumer.cli.common import command, print_json
from consumer.settings import load_settings, sources

if TYPE_CHECKING:
    from consumer.settings import Settings

HIDDEN = "(hidden)"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def config(as_json: bool) -> None:
    """Show the effective settings, and where each comes from. Keys and tokens are not shown.

    \b
    Example:
      consumer config
    """
    settings = load_settings()
    where = sources(settings)
    rows = {name.upper(): (_shown(settings, name), where[name]) for name in where}
    if as_json:
        print_json({name: {"value": value, "source": source} for name, (value, source) in rows.items()})
        return
    from consumer.cli.table import print_table

    cells = [[name, written(value), source] for name, (value, source) in rows.items()]
    print_table(("setting", "value", "from"), cells)


def written(value: object) -> str:
    """A value as one writes it into the environment; nothing for None."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)


def _shown(settings: Settings, name: str) -> Any:
    from pydantic import SecretStr

    value = getattr(settings, name)
    return HIDDEN if isinstance(value, SecretStr) else settings.model_dump(mode="json", include={name})[name]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands and options in this shell.

    \b
    Example:
      consumer completion bash > ~/.local/share/bash-completion/completions/consumer
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "consumer", "_CONSUMER_COMPLETE").source())
