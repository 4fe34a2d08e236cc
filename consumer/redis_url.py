"""What is wrong with a Redis URL, as far as it says so itself. Called by the settings; needs no Redis package."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

# Hosts of Redis hand out URLs with these; any other would reach into the client and loosen its clocks.
TLS_OPTIONS = {"ssl_cert_reqs", "ssl_ca_certs"}


def unusable(url: str) -> str | None:
    """Why this URL cannot be used, without repeating any of it; None when it may be one."""
    if not re.fullmatch(r"[!-~]+", url):
        return "holds characters that no URL has: write them as %XX"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "is not a URL: a /, #, ?, @ or : in the password must be written as %XX"
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        return "is not a redis:// or rediss:// URL with a host"
    if not re.fullmatch(r"/?|/\d{1,5}", parts.path) or parts.fragment:
        return "has something other than a database's number after the host: write / and # in a password as %XX"
    options = parse_qs(parts.query, keep_blank_values=True)
    return _unfit_options(parts.scheme, options)


def _unfit_options(scheme: str, options: dict[str, list[str]]) -> str | None:
    if options and (scheme != "rediss" or not set(options) <= TLS_OPTIONS):
        return "has options other than ssl_cert_reqs and ssl_ca_certs of rediss:// after a ?"
    if options.get("ssl_cert_reqs", ["required"])[-1] not in ("none", "optional", "required"):
        return "has an ssl_cert_reqs other than none, optional and required"
    return None
