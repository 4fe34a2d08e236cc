"""The HTTP client of the model calls: its URL checked, no clock of its own but for connecting. Used by the driver."""

from __future__ import annotations

import httpx

from consumer.errors import ConfigurationError
from consumer.ollama_wire import clip
from consumer.one_call import OneCall

CONNECT_SECONDS = 5.0
MAX_PORT = 65_535


def client_of(base_url: str, user_agent: str) -> httpx.AsyncClient:
    """A client for one model server.

    Raises:
        ConfigurationError: the URL is none.
    """
    url = _url(base_url)
    return httpx.AsyncClient(
        base_url=url,
        transport=OneCall(url),
        headers={"user-agent": user_agent, "content-type": "application/json", "accept-encoding": "identity"},
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
    )


def _url(base_url: str) -> httpx.URL:
    """The URL, checked here because httpx would fail later and in other people's words."""
    try:
        url = httpx.URL(base_url)
        wrong = "" if url.scheme in ("http", "https") and url.host else "it does not begin with http:// and a host"
        wrong = wrong or ("its port is over 65535" if (url.port or 0) > MAX_PORT else "")
    except httpx.InvalidURL as error:
        wrong = clip(str(error))
    if wrong:
        raise ConfigurationError(f"OLLAMA_LOCAL_URL: {wrong}. Set it to e.g. http://127.0.0.1:11434.")
    return url


def why(error: httpx.TransportError) -> str:
    """What went wrong on the wire, fit for a log line."""
    return clip(str(error)) or type(error).__name__
