"""The written references say what the program does: docs/cli.md, docs/settings.md, deploy/env.example."""

from __future__ import annotations

from pathlib import Path

import pytest
from dotenv import dotenv_values

from consumer import sysexits
from consumer.cli import main, reference
from consumer.settings import Settings, load_settings, sources

FILES = reference.files()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_file_is_what_make_docs_writes(path: Path) -> None:
    assert path.read_text("utf-8") == FILES[path], "run: make docs"


def test_every_command_is_in_the_reference() -> None:
    page = reference.commands_page()
    for name in main.commands:
        assert f"\n## consumer {name}\n" in page
        assert f"Usage: consumer {name} " in page


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_exit_code_has_a_meaning() -> None:
    codes = {value for name, value in vars(sysexits).items() if name.startswith("EX_")}
    assert set(sysexits.MEANINGS) == codes


def test_the_example_opened_line_by_line_is_a_file_of_settings_that_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    required = {"supabase_url": "https://ref.supabase.co", "supabase_service_role_key": "sb_secret_x"}
    examples = {name: field.examples[0] for name, field in Settings.model_fields.items() if field.examples}
    unset = load_settings(**required, **{name: examples[name] for name in examples.keys() - required})
    lines = reference.env_example().replace("https://<ref>", "https://ref").replace("_KEY=", "_KEY=sb_secret_x")
    opened = [line[1:] if line.startswith("#") and line[1].isupper() else line for line in lines.splitlines()]
    (tmp_path / ".env").write_text("\n".join(opened))
    assert set(dotenv_values(tmp_path / ".env")) == {name.upper() for name in Settings.model_fields}
    read = load_settings()
    assert set(sources(read).values()) == {".env", "default"}  # default: those that are empty, as if they were unset
    for name in set(Settings.model_fields) - {"worker_id"}:
        assert getattr(read, name) == getattr(unset, name), name
