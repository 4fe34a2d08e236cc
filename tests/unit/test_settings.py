"""Settings: checked once, and every error names the variable, the reason and the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.errors import ConfigurationError
from consumer.settings import Settings, load_settings
from devstack.keys import Keys
from tests.commands import settings_are
from tests.conftest import ROOT

KEYS = Keys.fresh()
GOOD = {"SUPABASE_URL": "https://ref.supabase.co/", "SUPABASE_SERVICE_ROLE_KEY": KEYS.secret}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings_are(monkeypatch, tmp_path, {})


def set_all(monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
    for name, value in {**GOOD, **more}.items():
        monkeypatch.setenv(name, value)


def test_two_variables_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch)
    settings = load_settings()
    assert settings.supabase_url == "https://ref.supabase.co"
    assert settings.realtime_url == "https://ref.supabase.co/realtime/v1"
    assert settings.models == {"analyze": "mistral:7b", "generate": "qwen2.5:7b"}
    assert settings.worker_concurrency == 1


def test_a_log_level_may_be_written_small(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, LOG_LEVEL="debug")
    assert load_settings().log_level == "DEBUG"


def test_a_dotenv_file_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in GOOD.items()) + "MAX_RETRIES=7\n")
    assert load_settings().max_retries == 7


def test_a_dotenv_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"SUPABASE_URL=http://caf\xe9\n")
    with pytest.raises(ConfigurationError, match=r"\.env: is not UTF-8"):
        load_settings()


def test_another_file_can_be_named_and_must_then_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MAX_RETRIES=7\n")
    (tmp_path / "env").write_text("".join(f"{name}={value}\n" for name, value in GOOD.items()))
    monkeypatch.setenv("ENV_FILE", str(tmp_path / "env"))
    assert load_settings().max_retries is None
    monkeypatch.setenv("ENV_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match=r"/none: cannot be read \(No such file or directory\)"):
        load_settings()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """systemd's folder for a service's credentials."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder


def test_every_secret_can_be_a_credential_and_nothing_else_can(
    monkeypatch: pytest.MonkeyPatch, credentials: Path
) -> None:
    monkeypatch.setenv("SUPABASE_URL", GOOD["SUPABASE_URL"])
    secrets = {
        "supabase_service_role_key": KEYS.secret, "redis_url": "redis://:word@localhost", "worker_api_token": "t" * 16,
    }  # fmt: skip
    for name, value in secrets.items():
        (credentials / name.upper()).write_text(f"{value}\n")
    (credentials / "MAX_RETRIES").write_text("7")
    settings = load_settings()
    assert {name: getattr(settings, name).get_secret_value() for name in secrets} == secrets
    assert settings.max_retries is None


def test_the_environment_comes_before_a_credential_and_a_credential_before_a_file(
    monkeypatch: pytest.MonkeyPatch, credentials: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("SUPABASE_URL", GOOD["SUPABASE_URL"])
    (tmp_path / ".env").write_text("WORKER_API_TOKEN=token-of-the-file-0\nREDIS_URL=redis://file\n")
    for name in ("SUPABASE_SERVICE_ROLE_KEY", "WORKER_API_TOKEN"):
        (credentials / name).write_text("sb_secret_" + "c" * 32)
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", KEYS.secret)
    settings = load_settings()
    assert settings.supabase_service_role_key.get_secret_value() == KEYS.secret
    assert settings.worker_api_token and settings.worker_api_token.get_secret_value() == "sb_secret_" + "c" * 32
    assert settings.redis_url and settings.redis_url.get_secret_value() == "redis://file"


def test_an_empty_credential_is_none(monkeypatch: pytest.MonkeyPatch, credentials: Path) -> None:
    monkeypatch.setenv("SUPABASE_URL", GOOD["SUPABASE_URL"])
    (credentials / "SUPABASE_SERVICE_ROLE_KEY").write_text("\n")
    with pytest.raises(ConfigurationError, match=r"^SUPABASE_SERVICE_ROLE_KEY: is not set\. Set it to"):
        load_settings()


@pytest.mark.parametrize(("content", "reason"), [(None, "cannot be read (Is a directory)"), (b"\xff", "is not UTF-8")])
def test_a_credential_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, credentials: Path, content: bytes | None, reason: str
) -> None:
    monkeypatch.setenv("SUPABASE_URL", GOOD["SUPABASE_URL"])
    path = credentials / "SUPABASE_SERVICE_ROLE_KEY"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"SUPABASE_SERVICE_ROLE_KEY: its credential {path} ")
    assert reason in line


def test_the_key_never_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch)
    assert KEYS.secret not in repr(load_settings())


def test_two_workers_of_one_host_have_different_names(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch)
    assert load_settings().worker_id != load_settings().worker_id


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("SUPABASE_URL", "ref.supabase.co", "is not an http(s) URL"),
        ("SUPABASE_URL", "ftp://x", "is not an http(s) URL"),
        ("SUPABASE_SERVICE_ROLE_KEY", "sb_publishable_" + "0" * 32, "is the publishable key"),
        ("SUPABASE_SERVICE_ROLE_KEY", KEYS.anon, "is the key of role 'anon'"),
        ("SUPABASE_URL", "http://127.0.0.1:99999", "Port out of range"),
        ("SUPABASE_URL", "http://a b", "is not an http(s) URL"),
        ("SUPABASE_URL", "http://me:word@127.0.0.1:9", "must have no user, password"),
        ("SUPABASE_SERVICE_ROLE_KEY", "sb_secret_…", "holds characters that no key has"),
        ("SUPABASE_SERVICE_ROLE_KEY", "hello", "is neither"),
        ("OLLAMA_KEEP_ALIVE", "ten minutes", "is neither seconds nor a duration"),
        ("SUPABASE_SERVICE_ROLE_KEY", "a.b.c", "is neither"),
        ("OLLAMA_LOCAL_URL", "localhost", "is not an http(s) URL"),
        ("OLLAMA_TIMEOUT", "soon", "valid number"),
        ("OLLAMA_TIMEOUT", "0", "greater than 0"),
        ("WORKER_ID", "a b", "should match pattern"),
        ("WORKER_CONCURRENCY", "0", "greater than or equal to 1"),
        ("MAX_RETRIES", "-1", "greater than or equal to 0"),
        ("RETRY_DELAY_BASE", "-1", "greater than 0"),
        ("LOG_LEVEL", "loud", "DEBUG"),
        ("HTTP_LISTEN", "8001", "no usable host. Write HOST:PORT, e.g. 127.0.0.1:8001 or [::1]:8001."),
        ("SUPABASE_JWT_SECRET", "my-short-secret", "32 items"),
        ("HTTP_CORS_ORIGINS", "https://a.example, *", "'*' is not an origin. Write scheme and host"),
        ("HTTP_CORS_ORIGINS", "https://a.example/page", "has no usable host"),
        ("WORKER_API_TOKEN", "my-short-token", "is shorter than 16 characters. Set it to"),
        ("WORKER_API_TOKEN", "a token with blanks in it", "no header can carry"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, reason: str
) -> None:
    set_all(monkeypatch, **{variable: value})
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{variable}: ")
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_secret_is_not_repeated_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, SUPABASE_SERVICE_ROLE_KEY="my-private-thing")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert "my-private-thing" not in str(caught.value)


@pytest.mark.parametrize("value", ["my-short-token", "my private thing with blanks", "café-café-café-café"])
def test_a_token_is_not_repeated_in_the_error(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    set_all(monkeypatch, WORKER_API_TOKEN=value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "place"),
    [(None, None), ("", None), (":9", "127.0.0.1:9"), ("localhost", "localhost:8001"), ("[::1]:0", "[::1]:0")],
)
def test_http_is_off_unless_asked_for_and_then_on_loopback_and_8001_by_default(
    monkeypatch: pytest.MonkeyPatch, written: str | None, place: str | None
) -> None:
    set_all(monkeypatch, **({} if written is None else {"HTTP_LISTEN": written}))
    found = load_settings().http_place
    assert (None if found is None else str(found)) == place


def test_a_token_is_taken_without_the_blanks_around_it_and_never_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, WORKER_API_TOKEN=" not-a-secret-012 ")
    settings = load_settings()
    assert settings.worker_api_token is not None
    assert settings.worker_api_token.get_secret_value() == "not-a-secret-012"
    assert "not-a-secret" not in repr(settings)


def test_everything_missing_is_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY"]
    assert all("is not set" in line and "Set it to" in line for line in lines)


def test_the_example_names_every_setting() -> None:
    example = (ROOT / "deploy" / "env.example").read_text()
    named = {line.lstrip("#").partition("=")[0] for line in example.splitlines() if "=" in line}
    assert {name.upper() for name in Settings.model_fields} == named


def test_a_legacy_service_role_jwt_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, SUPABASE_SERVICE_ROLE_KEY=f" {KEYS.service_role}\n")
    assert load_settings().supabase_service_role_key.get_secret_value() == KEYS.service_role
