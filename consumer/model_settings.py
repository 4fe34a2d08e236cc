"""What a user can set of the models and the work with them: enough for commands that need no database.

Base of the worker's settings; read and checked by `consumer/settings.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from consumer.clocks import ClockSettings
from consumer.credentials import Credentials

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class ModelSettings(BaseSettings):
    """What work with the model server needs. Field names in capitals are the environment variables; seconds."""

    model_config = SettingsConfigDict(env_file_encoding="utf-8", extra="ignore", frozen=True, env_ignore_empty=True)

    ollama_local_url: str = Field("http://127.0.0.1:11434", description="URL of the model server (Ollama).")
    analyze_model: str = Field(
        "mistral:7b", description="The model that analyzes the request. Pull it with `ollama pull NAME`."
    )
    generate_model: str = Field("qwen2.5:7b", description="The model that generates the workflow.")
    pull_missing: bool = Field(
        False, description="Pull the models that are missing at the start, as `consumer run --pull-missing` does."
    )
    workflow_catalog: Path | None = Field(
        None,
        description="A JSON file of node types that are added to ours, or take their place (its schema: "
        "schemas/catalog.schema.json).",
    )
    ollama_timeout: Seconds = Field(600, description="Seconds that one model call may take in all.")
    ollama_load_timeout: Seconds | None = Field(None, description="Seconds that loading a model may take; unset: 300.")
    ollama_first_token_timeout: Seconds | None = Field(
        None, description="Seconds until the first token; unset: 120, and 60 for a model wholly on a GPU."
    )
    ollama_between_tokens_timeout: Seconds | None = Field(
        None, description="Seconds between two tokens; unset: 60, and 25 for a model wholly on a GPU."
    )
    ollama_num_ctx: Annotated[int, Field(ge=4096, le=131_072)] = Field(
        8192, description="Context length of the models, in tokens."
    )
    ollama_keep_alive: str = Field(
        "10m",
        description="How long the model server keeps a model loaded after a call: seconds, a duration, or -1 for ever.",
    )

    max_retries: Annotated[int, Field(ge=0, le=20)] | None = Field(
        None, description="Retries after the first attempt of a job; unset: the job's own `max_retries`, by default 3."
    )
    job_timeout: Seconds = Field(1800, description="Seconds that one attempt of a job may take in all.")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="The least that is logged.")
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", description="auto: text on a terminal, JSON elsewhere; or text, json."
    )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        """Where settings come from; what comes first wins."""
        return init_settings, env_settings, Credentials(settings_cls), dotenv_settings

    @field_validator(
        "supabase_url", "ollama_local_url", "otel_exporter_otlp_endpoint", "otel_exporter_otlp_traces_endpoint",
        check_fields=False,
    )  # fmt: skip
    @classmethod
    def _is_a_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or not re.fullmatch(r"[!-~]+", value):
            raise ValueError("is not an http(s) URL")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("must have no user, password, query or fragment")
        _ = parts.port  # raises ValueError when it is none
        return value.rstrip("/")

    @field_validator("analyze_model", "generate_model")
    @classmethod
    def _is_a_model(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*", value.strip()):
            raise ValueError("is no model's name")
        return value.strip()

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
