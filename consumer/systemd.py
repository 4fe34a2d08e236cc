"""Tells systemd how the service is: READY, STATUS, STOPPING (sd_notify). Does nothing outside systemd."""

from __future__ import annotations

import os
import socket

from loguru import logger


def notify(message: str) -> None:
    """Send one notification, e.g. `READY=1`; see systemd's sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.sendall(message.encode())
    except OSError as error:
        logger.warning("systemd could not be notified: {}", error)
