"""Everything a user can set, read once, checked, then passed down frozen.

What comes first wins: the command line, the environment, a credential of systemd's, the file `.env` or the one that
`ENV_FILE` names. The only module that reads settings. Every error names the variable, the reason and the way out.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from consumer.credentials import Credentials
from consumer.errors import ConfigurationError
from consumer.hosts import Place, parse_origins, parse_place
from consumer.job import JOB_ID_PATTERN
from consumer.keys import unfit
from consumer.model_settings import ModelSettings, Seconds
from consumer.redis_url import unusable
from consumer.wrong_setting import sentence

# Where `--http` listens when it is given no host, no port, or neither (contract §3).
HTTP_HOST, HTTP_PORT = "127.0.0.1", 8001
SHORTEST_TOKEN = 16
S = TypeVar("S", bound="ModelSettings")


def _default_worker_id() -> str:
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:40] or "worker"
    return f"{host}-{secrets.token_hex(4)}"


class Settings(ModelSettings):
    """The worker's settings."""

    supabase_url: str = Field(description="URL of the Supabase project.", examples=["https://<ref>.supabase.co"])
    supabase_service_role_key: SecretStr = Field(
        description="The project's secret key (sb_secret_…, or the legacy service_role JWT)."
    )
    redis_url: SecretStr | None = Field(
        None, description="A Redis that spreads new jobs' doorbells over idle workers; without it, each of them claims."
    )
    worker_id: Annotated[str, Field(pattern=JOB_ID_PATTERN)] = Field(
        default_factory=_default_worker_id,
        description="A name of its own for each worker on the project; unset: host name and random digits.",
    )
    worker_concurrency: Annotated[int, Field(ge=1, le=64)] = Field(1, description="Jobs in work at once.")
    model_batch_size: Annotated[int, Field(ge=1, le=64)] = Field(
        4,
        description="With two models that do not fit into memory together, so many jobs are taken ahead "
        "from a backlog, so that the models change once per batch.",
    )
    model_batch_wait: Seconds = Field(120, description="Seconds that a call waits at most for the models to change.")

    retry_delay_base: Seconds = Field(
        1, description="Seconds before the first retry of a job; each further one waits twice as long."
    )
    lease_seconds: Annotated[int, Field(ge=5, le=3600)] = Field(
        20, description="Seconds without progress after which the job of a worker is given to another."
    )
    heartbeat_seconds: Annotated[float, Field(ge=1, le=300)] = Field(
        30, description="Seconds between two heartbeats, which also find jobs that no event announced."
    )
    missed_event_grace: Seconds = Field(
        5, description="A claimable job that no event announced counts as missed after so many seconds."
    )
    shutdown_grace: Annotated[float, Field(ge=0, le=3600)] = Field(
        30, description="Seconds that jobs in work get to finish when the worker is stopped; then they are handed back."
    )
    realtime_recycle_hours: Annotated[float, Field(ge=0.1, le=23)] = Field(
        6, description="Realtime sessions are replaced after this many hours to twice as many."
    )

    http_listen: str | None = Field(
        None,
        description="HOST:PORT where HTTP is answered; /openapi.json lists the calls (as --http; needs the extra "
        "`http`); unset: nowhere.",
        examples=["127.0.0.1:8001"],
    )
    worker_api_token: SecretStr | None = Field(
        None,
        description="Asked for as `Authorization: Bearer` by all calls but /healthz, /readyz and those of users, who "
        "send their own token; a must where other machines can reach HTTP_LISTEN.",
    )
    supabase_jwt_secret: SecretStr | None = Field(  # of the length that HS256 asks for (RFC 7518 §3.2)
        None,
        min_length=32,
        description="The project's JWT secret, where its users' tokens are signed with it (HS256); other keys are "
        "fetched from the project.",
    )
    http_cors_origins: str | None = Field(
        None,
        description="Origins whose pages may call the HTTP face, with commas between; unset: none.",
        examples=["https://app.example.org"],
    )

    otel_exporter_otlp_endpoint: str | None = Field(
        default=None,
        description="Send a trace of each job to this collector (OTLP over HTTP; needs the extra `otel`). The other "
        "standard OTEL_* variables are read from the environment of the process.",
    )
    otel_exporter_otlp_traces_endpoint: str | None = Field(
        default=None, description="The same as a whole URL; it is used as it is."
    )
    otel_sdk_disabled: bool = Field(default=False, description="Send no traces, whatever the endpoint.")

    @field_validator("supabase_service_role_key")
    @classmethod
    def _is_a_server_key(cls, value: SecretStr) -> SecretStr:
        reason = unfit(value.get_secret_value().strip())
        if reason:
            raise ValueError(reason)
        return SecretStr(value.get_secret_value().strip())

    @field_validator("redis_url")
    @classmethod
    def _is_a_redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and (reason := unusable(value.get_secret_value())):
            raise ValueError(reason)
        return value

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

    @field_validator("http_cors_origins")
    @classmethod
    def _are_origins(cls, value: str | None) -> str | None:
        parse_origins(value or "")
        return value

    @property
    def realtime_url(self) -> str:
        """Where the Realtime client connects."""
        return f"{self.supabase_url}/realtime/v1"

    @property
    def traces_url(self) -> str | None:
        """Where spans are sent; None: nowhere."""
        if self.otel_sdk_disabled:
            return None
        base = self.otel_exporter_otlp_endpoint
        return self.otel_exporter_otlp_traces_endpoint or (f"{base}/v1/traces" if base else None)

    @property
    def http_place(self) -> Place | None:
        """Where the worker answers HTTP; None: nowhere."""
        if self.http_listen is None:
            return None
        place = parse_place(self.http_listen, HTTP_HOST)
        return place if place.port is not None else Place(place.host, HTTP_PORT)


def load_settings(**overrides: Any) -> Settings:
    """Read and check the settings; `overrides` (field names) win over the environment.

    Raises:
        ConfigurationError: one line per wrong variable.
    """
    return _load(Settings, overrides)


def load_model_settings(**overrides: Any) -> ModelSettings:
    """The same without the database's settings, for commands that need the model server only."""
    return _load(ModelSettings, overrides)


def sources(settings: ModelSettings) -> dict[str, str]:
    """Where each field's value comes from, by field name: environment, credential, the `.env` file, or default."""
    kind, file = type(settings), os.environ.get("ENV_FILE") or ".env"
    where = dict.fromkeys(kind.model_fields, "default")
    where.update(dict.fromkeys(DotEnvSettingsSource(kind, env_file=file)(), file))
    where.update(dict.fromkeys(Credentials(kind)(), "credential"))
    where.update(dict.fromkeys(EnvSettingsSource(kind)(), "environment"))
    return {name: where[name] for name in kind.model_fields}


def _load(kind: type[S], overrides: Mapping[str, Any]) -> S:
    file = os.environ.get("ENV_FILE") or ".env"
    try:
        if file != ".env":
            Path(file).open("rb").close()  # one that is named must be there
        return kind(**{"_env_file": file, **overrides})
    except ValidationError as error:
        defaults = {name: field.default for name, field in kind.model_fields.items()}
        raise ConfigurationError("\n".join(sentence(dict(item), defaults) for item in error.errors())) from None
    except OSError as error:
        raise ConfigurationError(
            f"{file}: cannot be read ({error.strerror}). Let this user read it, or do without it."
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file}: is not UTF-8 text. Save it as UTF-8.") from None
