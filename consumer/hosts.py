"""Which hosts are this machine. Called by the adapters that open connections."""

from __future__ import annotations

import ipaddress


def is_local(host: str) -> bool:
    """Whether `host` is this machine, which no proxy of the environment can reach."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified
