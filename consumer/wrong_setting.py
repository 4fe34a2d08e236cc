"""One line for a setting that is wrong: the variable, the reason, the way out. Called by the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_HINTS = {
    "SUPABASE_URL": "Set it to the project's URL, e.g. https://<ref>.supabase.co (or start `consumer dev`).",
    "SUPABASE_SERVICE_ROLE_KEY": "Set it to the project's secret key (sb_secret_… or the legacy service_role JWT).",
    "OLLAMA_LOCAL_URL": "Set it to the model server's URL, e.g. http://127.0.0.1:11434.",
    "REDIS_URL": "Write redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], rediss:// for TLS, or leave it out.",
    "WORKER_ID": "Use 1 to 64 characters of A-Z a-z 0-9 _ -.",
    "ANALYZE_MODEL": "Set it to a model's name, e.g. mistral:7b.",
    "GENERATE_MODEL": "Set it to a model's name, e.g. qwen2.5:7b.",
    "OLLAMA_LOAD_TIMEOUT": "Give seconds, e.g. 300, or leave it out.",
    "OLLAMA_FIRST_TOKEN_TIMEOUT": "Give seconds, e.g. 120, or leave it out.",
    "OLLAMA_BETWEEN_TOKENS_TIMEOUT": "Give seconds, e.g. 60, or leave it out.",
    "MAX_RETRIES": "Give a whole number, e.g. 3, or leave it out.",
    "HTTP_LISTEN": "Write HOST:PORT, e.g. 127.0.0.1:8001 or [::1]:8001.",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "Set it to a collector that takes OTLP over HTTP, e.g. http://127.0.0.1:4318.",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "Set it to the whole URL, e.g. http://127.0.0.1:4318/v1/traces.",
    "SUPABASE_JWT_SECRET": "Set it to the project's JWT secret, or leave it out where keys are asymmetric.",
    "HTTP_CORS_ORIGINS": "Write scheme and host, with commas between, e.g. https://app.example.org",
    "WORKER_API_TOKEN": "Set it to 16 or more characters, e.g. the output of: openssl rand -hex 24",
}


def sentence(item: Mapping[str, Any], defaults: Mapping[str, object]) -> str:
    """What pydantic says of one field, as a line; `defaults` by field name."""
    field = str(item["loc"][0]) if item["loc"] else "settings"
    reason = "is not set" if item["type"] == "missing" else str(item["msg"]).removeprefix("Value error, ")
    return f"{field.upper()}: {reason}. {_HINTS.get(field.upper()) or _usual(defaults.get(field))}"


def _usual(default: object) -> str:
    """The way out that is always there: what it is when it is left out."""
    return f"Set it to e.g. {str(default).lower() if isinstance(default, bool) else default}, or leave it out."
