"""The extras: a package that is missing is one line of one form, which names the setting and the command."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from consumer.errors import ConfigurationError
from consumer.extras import http_face, redis_bell, tracing_to
from consumer.settings import Settings, load_settings

EXTRAS: dict[str, tuple[str, str, str, Callable[[Settings], object]]] = {
    "http": ("http_listen", "127.0.0.1:0", "consumer.http", http_face),
    "otel": ("otel_exporter_otlp_endpoint", "http://127.0.0.1:9", "consumer.traces", tracing_to),
    "redis": ("redis_url", "redis://127.0.0.1", "consumer.redis_bell", redis_bell),
}


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_missing_extra_is_named_with_its_setting_and_the_command(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    setting, value, module, make = EXTRAS[extra]
    monkeypatch.setitem(sys.modules, module, None)
    project = {"supabase_url": "http://127.0.0.1:9", "supabase_service_role_key": "sb_secret_0123456789"}
    with pytest.raises(ConfigurationError) as caught:
        make(load_settings(**project, **{setting: value}))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(setting.upper())
    assert "needs packages that are not installed" in line
    assert line.endswith(f'Run: pip install "workflow-consumer[{extra}]"')
