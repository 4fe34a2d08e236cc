"""Everything a user can set, read once from the environment and `.env`, checked, then passed down frozen.

The only module that reads the environment. Every error names the variable, the reason and the way out.
"""

from __future__ import annotations

import re
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from consumer.clocks import ClockSettings
from consumer.errors import ConfigurationError
from consumer.hosts import Place, parse_place
from consumer.job import JOB_ID_PATTERN
from consumer.keys import unfit

_HINTS = {
    "SUPABASE_URL": "Set it to the project's URL, e.g. https://<ref>.supabase.co (or start `consumer dev`).",
    "SUPABASE_SERVICE_ROLE_KEY": "Set it to the project's secret key (sb_secret_… or the legacy service_role JWT).",
    "OLLAMA_LOCAL_URL": "Set it to the model server's URL, e.g. http://127.0.0.1:11434.",
    "WORKER_ID": "Use 1 to 64 characters of A-Z a-z 0-9 _ -.",
    "HTTP_LISTEN": "Write HOST:PORT, e.g. 127.0.0.1:8001 or [::1]:8001.",
    "SUPABASE_JWT_SECRET": "Copy it from the project's JWT settings, or leave it out where keys are asymmetric.",
    "HTTP_CORS_ORIGINS": "Write scheme and host, with commas between, e.g. https://app.example.org",
    "WORKER_API_TOKEN": "Set it to 16 or more characters, e.g. the output of: openssl rand -hex 24",
}
# Where `--http` listens when it is given no host, no port, or neither (contract §3).
HTTP_HOST, HTTP_PORT = "127.0.0.1", 8001
SHORTEST_TOKEN = 16
# As HS256 asks for (RFC 7518 §3.2).
SHORTEST_JWT_SECRET = 32
Seconds = Annotated[float, Field(gt=0, le=86_400)]
S = TypeVar("S", bound="ModelSettings")


def _default_worker_id() -> str:
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:40] or "worker"
    return f"{host}-{secrets.token_hex(4)}"


class ModelSettings(BaseSettings):
    """What work with the model server needs. Field names in capitals are the environment variables; seconds."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, env_ignore_empty=True
    )

    ollama_local_url: str = "http://127.0.0.1:11434"
    analyze_model: str = "mistral:7b"
    generate_model: str = "qwen2.5:7b"
    pull_missing: bool = False
    workflow_catalog: Path | None = None
    ollama_timeout: Seconds = 600
    ollama_load_timeout: Seconds | None = None
    ollama_first_token_timeout: Seconds | None = None
    ollama_between_tokens_timeout: Seconds | None = None
    ollama_num_ctx: Annotated[int, Field(ge=4096, le=131_072)] = 8192
    ollama_keep_alive: str = "10m"

    max_retries: Annotated[int, Field(ge=0, le=20)] | None = None
    job_timeout: Seconds = 1800

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "text", "json"] = "auto"

    @field_validator("supabase_url", "ollama_local_url", check_fields=False)
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or not re.fullmatch(r"[!-~]+", value):
            raise ValueError("is not an http(s) URL")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("must have no user, password, query or fragment")
        _ = parts.port  # raises ValueError when it is none
        return value.rstrip("/")

    @field_validator("ollama_keep_alive")
    @classmethod
    def _is_a_duration(cls, value: str) -> str:
        if not re.fullmatch(r"-?\d+|-?(\d+(\.\d+)?(ns|us|ms|s|m|h))+", value):
            raise ValueError("is neither seconds nor a duration such as 10m, 1h30m or -1")
        if not re.search(r"[1-9]", value):
            raise ValueError("would turn every load into an unload; use seconds or a duration such as 10m")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @property
    def clocks(self) -> ClockSettings:
        """What is set of the clocks of a model call."""
        return ClockSettings(
            load=self.ollama_load_timeout,
            first_token=self.ollama_first_token_timeout,
            between_tokens=self.ollama_between_tokens_timeout,
            total=self.ollama_timeout,
        )

    @property
    def models(self) -> Mapping[Literal["analyze", "generate"], str]:
        """Model name by kind of step."""
        return {"analyze": self.analyze_model, "generate": self.generate_model}


class Settings(ModelSettings):
    """The worker's settings."""

    supabase_url: str
    supabase_service_role_key: SecretStr
    redis_url: SecretStr | None = None
    worker_id: Annotated[str, Field(pattern=JOB_ID_PATTERN)] = Field(default_factory=_default_worker_id)
    worker_concurrency: Annotated[int, Field(ge=1, le=64)] = 1
    model_batch_size: Annotated[int, Field(ge=1, le=64)] = 4
    model_batch_wait: Seconds = 120

    retry_delay_base: Seconds = 1
    lease_seconds: Annotated[int, Field(ge=5, le=3600)] = 20
    heartbeat_seconds: Annotated[float, Field(ge=1, le=300)] = 30
    missed_event_grace: Seconds = 5
    shutdown_grace: Annotated[float, Field(ge=0, le=3600)] = 30
    realtime_recycle_hours: Annotated[float, Field(ge=0.1, le=23)] = 6

    http_listen: str | None = None
    worker_api_token: SecretStr | None = None
    supabase_jwt_secret: SecretStr | None = Field(
        None, description="The project's JWT secret, where its users' tokens are signed with it (HS256)."
    )
    http_cors_origins: str = Field(
        "", description="Origins whose pages may call the HTTP face, with commas between, e.g. https://app.example.org"
    )

    @field_validator("supabase_service_role_key")
    @classmethod
    def _is_a_server_key(cls, value: SecretStr) -> SecretStr:
        reason = unfit(value.get_secret_value().strip())
        if reason:
            raise ValueError(reason)
        return SecretStr(value.get_secret_value().strip())

    @field_validator("http_listen")
    @classmethod
    def _is_a_place(cls, value: str | None) -> str | None:
        if value is not None:
            parse_place(value, HTTP_HOST)
        return value

    @field_validator("worker_api_token")
    @classmethod
    def _is_a_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        token = value.get_secret_value().strip()
        if not re.fullmatch(r"[!-~]*", token):
            raise ValueError("holds characters that no header can carry")
        if len(token) < SHORTEST_TOKEN:
            raise ValueError(f"is shorter than {SHORTEST_TOKEN} characters")
        return SecretStr(token)

    @field_validator("supabase_jwt_secret")
    @classmethod
    def _is_a_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().strip()) < SHORTEST_JWT_SECRET:
            raise ValueError(f"is shorter than {SHORTEST_JWT_SECRET} characters")
        return value and SecretStr(value.get_secret_value().strip())

    @field_validator("http_cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for origin in filter(None, map(str.strip, value.split(","))):
            parts = urlsplit(origin)
            if (
                parts.scheme not in ("http", "https")
                or not parts.hostname
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                raise ValueError(f"{origin!r} is not an origin")
        return value

    @property
    def cors_origins(self) -> list[str]:
        """Origins whose pages may call the HTTP face."""
        return [origin for each in self.http_cors_origins.split(",") if (origin := each.strip())]

    @property
    def realtime_url(self) -> str:
        """Where the Realtime client connects."""
        return f"{self.supabase_url}/realtime/v1"

    @property
    def http_place(self) -> Place | None:
        """Where the worker answers HTTP; None: nowhere."""
        if self.http_listen is None:
            return None
        place = parse_place(self.http_listen, HTTP_HOST)
        return place if place.port is not None else Place(place.host, HTTP_PORT)


def name_for_once() -> str:
    """A name for a worker that works beside those of the settings, so that it does not take itself for one of them."""
    return f"once-{_default_worker_id()}"


def load_settings(**overrides: Any) -> Settings:
    """Read and check the settings; `overrides` (field names) win over the environment.

    Raises:
        ConfigurationError: one line per wrong variable.
    """
    return _load(Settings, overrides)


def load_model_settings(**overrides: Any) -> ModelSettings:
    """The same without the database's settings, for commands that need the model server only."""
    return _load(ModelSettings, overrides)


def _load(kind: type[S], overrides: Mapping[str, Any]) -> S:
    try:
        return kind(**overrides)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_sentence(dict(item)) for item in error.errors())) from None
    except OSError as error:
        raise ConfigurationError(
            f".env: cannot be read ({error.strerror}). Let this user read it, or remove it."
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(".env: is not UTF-8 text. Save it as UTF-8.") from None


def _sentence(item: dict[str, Any]) -> str:
    variable = str(item["loc"][0]).upper() if item["loc"] else "settings"
    reason = "is not set" if item["type"] == "missing" else str(item["msg"]).removeprefix("Value error, ")
    return f"{variable}: {reason}. {_HINTS.get(variable, '')}".rstrip()
