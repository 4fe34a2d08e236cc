"""Writes docs/cli.md, docs/settings.md and deploy/env.example from the commands and settings themselves (`make docs`).

A test holds the files true. Not part of the program that users run.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import click
from pydantic.fields import FieldInfo

from consumer.cli import main
from consumer.cli.configure import written
from consumer.settings import Settings
from consumer.sysexits import MEANINGS

ROOT = Path(__file__).parents[2]
WIDTH = 100
_GENERATED = "<!-- Written by `make docs`; edit the commands' docstrings or the settings' descriptions instead. -->"
_ENV_HEAD = (
    "# deploy/install copies it to /etc/workflow-consumer/env (mode 0600), and keeps the key in a file of its own "
    "beside it;\n# or copy it to .env. Only the first two are required."
)


def files() -> dict[Path, str]:
    """What each file must hold."""
    return {
        ROOT / "docs" / "cli.md": commands_page(),
        ROOT / "docs" / "settings.md": settings_page(),
        ROOT / "deploy" / "env.example": env_example(),
    }


def commands_page() -> str:
    """Every command with its help, and the exit codes."""
    codes = [f"| {code} | {meaning} |" for code, meaning in sorted(MEANINGS.items())]
    return "\n".join([
        "# Commands", "", _GENERATED, "",
        "Data goes to standard output, words to standard error. Settings: [settings.md](settings.md).", "",
        *_help(group := click.Context(main, info_name="consumer", terminal_width=WIDTH, **main.context_settings)),
        *(
            line
            for name, command in sorted(main.commands.items())
            for line in _help(click.Context(command, info_name=name, parent=group))
        ),
        "## Exit codes", "", "| code | meaning |", "|---|---|", *codes, "",
    ])  # fmt: skip


def _help(context: click.Context) -> list[str]:
    return [f"## {context.command_path}", "", "```text", context.get_help(), "```", ""]


def settings_page() -> str:
    """Every setting in a table."""
    rows = [
        f"| `{name.upper()}` | {_default(field)} | {_limits(field)} | {field.description} |"
        for name, field in _fields()
    ]
    return "\n".join([
        "# Settings", "", _GENERATED, "",
        "Read from the environment, or from a file `.env` in the working directory. An empty value counts as unset.",
        "`consumer config` shows what holds here and where it comes from.", "",
        "| variable | default | range | meaning |", "|---|---|---|---|", *rows, "",
    ])  # fmt: skip


def env_example() -> str:
    """A file to start from: required settings open, all others commented out with their defaults."""
    lines = [_ENV_HEAD]
    for name, field in _fields():
        lines += textwrap.wrap(field.description or "", WIDTH + 18, initial_indent="# ", subsequent_indent="# ")
        example = (field.examples or [""])[0] if field.default is None or _open(field) else written(field.default)
        lines.append(f"{'' if field.is_required() else '#'}{name.upper()}={example}")
    return "\n".join([*lines, ""])


def _fields() -> list[tuple[str, FieldInfo]]:
    """The required ones first."""
    return sorted(Settings.model_fields.items(), key=lambda item: not item[1].is_required())


def _open(field: FieldInfo) -> bool:
    return field.is_required() or field.default_factory is not None


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return "unset" if field.default is None or _open(field) else f"`{written(field.default)}`"


def _limits(field: FieldInfo) -> str:
    words = {"gt": "over", "ge": "from", "le": "to"}
    found = [
        f"{words[name]} {getattr(part, name):g}" for part in field.metadata for name in words if hasattr(part, name)
    ]
    return " ".join(found)


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, "utf-8")
