"""Every variable, and each way in which it can be wrong: exit code 78 and one line that names it and the way out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from consumer.settings import Settings
from devstack.keys import Keys
from tests.commands import consumer, settings_are
from tests.conftest import ROOT

EX_CONFIG = 78
KEYS = Keys.fresh()
GOOD = {"SUPABASE_URL": "http://127.0.0.1:9", "SUPABASE_SERVICE_ROLE_KEY": KEYS.secret}
NO_URLS = ["nonsense", "ftp://host", "http://", "http://a b", "http://host:99999", "http://host:x", "//host",
           "http://me:word@host", "http://host/?a=1", "http://host/#a", "http://hö.st"]  # fmt: skip
NO_SECONDS = ["soon", "0", "-1", "86401", "nan", "inf", "10s", "1,5"]
NO_NUMBERS = ["many", "1.5", "0x10", "nan"]
NO_MODELS = [" ", "two words", "mistral:7b;", "../mistral"]
NO_PLACES = ["8001", "[::1", "127.0.0.1:99999", "a b:1", "127.0.0.1:x", "::1", "[nonsense]:1"]
NO_KEYS = ["hello", "a.b.c", "sb_publishable_" + "0" * 32, KEYS.anon, KEYS.user_token("u"), "sb_secret_é",
           KEYS.token("supabase_admin"), "sb_secret_a b\n"]  # fmt: skip

WRONG: dict[str, list[str]] = {
    "SUPABASE_URL": ["", *NO_URLS],
    "SUPABASE_SERVICE_ROLE_KEY": ["", *NO_KEYS],
    "OLLAMA_LOCAL_URL": NO_URLS,
    "ANALYZE_MODEL": NO_MODELS,
    "GENERATE_MODEL": NO_MODELS,
    "PULL_MISSING": ["maybe", "2"],
    "OLLAMA_TIMEOUT": NO_SECONDS,
    "OLLAMA_LOAD_TIMEOUT": NO_SECONDS,
    "OLLAMA_FIRST_TOKEN_TIMEOUT": NO_SECONDS,
    "OLLAMA_BETWEEN_TOKENS_TIMEOUT": NO_SECONDS,
    "OLLAMA_NUM_CTX": [*NO_NUMBERS, "0", "4095", "131073", "8k"],
    "OLLAMA_KEEP_ALIVE": ["ten minutes", "0", "0m", "10 m", "m", "-"],
    "MAX_RETRIES": [*NO_NUMBERS, "-1", "21"],
    "JOB_TIMEOUT": NO_SECONDS,
    "LOG_LEVEL": ["loud", "TRACE", "10"],
    "LOG_FORMAT": ["xml", "JSON"],
    "WORKER_ID": ["a b", "a.b", "x" * 65, "wörker"],
    "WORKER_CONCURRENCY": [*NO_NUMBERS, "0", "65"],
    "MODEL_BATCH_SIZE": [*NO_NUMBERS, "0", "65"],
    "MODEL_BATCH_WAIT": NO_SECONDS,
    "RETRY_DELAY_BASE": NO_SECONDS,
    "LEASE_SECONDS": [*NO_NUMBERS, "4", "3601"],
    "HEARTBEAT_SECONDS": ["often", "0.5", "301", "nan"],
    "MISSED_EVENT_GRACE": NO_SECONDS,
    "SHUTDOWN_GRACE": ["long", "-1", "3601", "nan"],
    "REALTIME_RECYCLE_HOURS": ["daily", "0", "24", "nan"],
    "HTTP_LISTEN": NO_PLACES,
    "REDIS_URL": ["nonsense", "http://h", "redis://", "redis://h/x", "redis://h:x", "redis://h?a=1", "redis://h/ 1"],
    "OTEL_EXPORTER_OTLP_ENDPOINT": NO_URLS,
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": NO_URLS,
    "OTEL_SDK_DISABLED": ["maybe", "2"],
    "SUPABASE_JWT_SECRET": ["x" * 31],
    "HTTP_CORS_ORIGINS": ["nonsense", "*", "ftp://host", "https://host/path", "https://a.example https://b.example"],
    "WORKER_API_TOKEN": ["my-token", "a token with blanks in it", "café-café-café-café"],
}
# Looked at where it is used: see below.
ELSEWHERE = {"WORKFLOW_CATALOG"}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the developer's own, and what is required."""
    settings_are(monkeypatch, tmp_path, GOOD)


def refused(*arguments: str) -> str:
    """The one line that `consumer …` says when the configuration is wrong."""
    done = consumer(*arguments)
    lines = done.stderr.splitlines()
    assert (done.exit_code, done.stdout, len(lines)) == (EX_CONFIG, "", 1), done.output
    return lines[0].removeprefix("consumer: ")


def test_no_variable_is_left_out() -> None:
    assert {name.upper() for name in Settings.model_fields} == set(WRONG) | ELSEWHERE


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        pytest.param(name, value, id=f"{name}-{number}")
        for name, values in WRONG.items()
        for number, value in enumerate(values)
    ],
)
def test_a_wrong_value_is_named_with_the_way_out(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    line = refused("run")
    reason, way_out = _split(line)
    assert line.startswith(f"{variable}: ")
    assert reason
    assert way_out.startswith(("Set it to ", "Give ", "Write ", "Use ")), way_out
    assert not re.search("None|Undefined", way_out)
    if variable in ("SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_JWT_SECRET", "WORKER_API_TOKEN") and value:
        assert value not in reason + way_out


def _split(line: str) -> tuple[str, str]:
    said = line.partition(": ")[2]
    for word in ("Set it to ", "Give ", "Write ", "Use "):
        before, found, after = said.partition(f". {word}")
        if found:
            return before, word + after
    return said, ""


def _twice() -> bytes:
    catalog = json.loads((ROOT / "schemas" / "catalog.json").read_text())
    kinds = catalog["categories"][0]["types"]
    kinds.append(kinds[0])
    return json.dumps(catalog).encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory. Give a readable JSON file"),
        (b"{", "is no JSON text in UTF-8"), (b"\xff", "is no JSON text in UTF-8"),
        (b"[" * 100_000, "is no JSON text in UTF-8"), (b"[]", "Correct it by schemas/catalog.schema.json"),
        (b"{}", "Correct it by schemas/catalog.schema.json"), (_twice(), "is listed twice. Keep one."),
    ],
    ids=["missing", "no JSON", "no text", "bottomless", "no object", "no catalogue", "a type twice"],
)  # fmt: skip
def test_a_wrong_catalogue_is_named(
    content: bytes | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "catalog.json"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("WORKFLOW_CATALOG", str(path))
    line = refused("run")
    assert line.startswith(f"WORKFLOW_CATALOG: {path}")
    assert reason in line


def test_a_folder_is_no_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKFLOW_CATALOG", str(tmp_path))
    assert "Is a directory" in refused("run")


@pytest.mark.parametrize("name", ["reconcile", "audit", "health"])
def test_other_commands_say_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEASE_SECONDS", "4")
    assert refused(name) == refused("run")


def test_a_wrong_value_in_a_dotenv_file_is_named_like_one_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("MAX_RETRIES=many\n")
    assert refused("run").startswith("MAX_RETRIES: ")
    monkeypatch.setenv("MAX_RETRIES", "-1")
    assert "greater than or equal to 0" in refused("run")


def test_a_wrong_option_is_named_like_its_variable() -> None:
    assert refused("run", "--http", "8001").startswith("HTTP_LISTEN: has no usable host. Write HOST:PORT")


def test_several_mistakes_are_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "loud")
    monkeypatch.setenv("MAX_RETRIES", "many")
    done = consumer("run")
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == ["MAX_RETRIES", "LOG_LEVEL"]
