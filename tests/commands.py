"""`consumer …` in this process, where the process is not the point: what it prints and how it ends, at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from loguru import logger

from consumer.cli import main
from consumer.settings import Settings


def settings_are(monkeypatch: pytest.MonkeyPatch, folder: Path, variables: Mapping[str, str]) -> None:
    """Nothing of the developer's own: these variables alone, in this folder."""
    monkeypatch.chdir(folder)
    for name in (*(field.upper() for field in Settings.model_fields), "ENV_FILE", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def consumer(*arguments: str, env: Mapping[str, str] | None = None, stdin: str | None = None) -> Result:
    """Run a command to its end; `env` goes over the variables that are set. Nothing logs to it afterwards."""
    try:
        return CliRunner().invoke(main, list(arguments), env=env, input=stdin, prog_name="consumer")
    finally:
        logger.remove()
