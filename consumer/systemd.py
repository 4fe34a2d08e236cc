"""The words that systemd hears from a service (sd_notify(3)). Does nothing outside systemd, and never waits for it."""

from __future__ import annotations

import os
import socket

from loguru import logger


def present() -> bool:
    """Whether systemd listens."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def notify(*words: str) -> None:
    """Send these assignments, e.g. `READY=1`, as one notification; none is sent without any."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not (address and words):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)  # a systemd that does not read must not stop the event loop
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.sendall("\n".join(words).encode(errors="replace"))
    except OSError as error:
        logger.warning("systemd could not be notified: {}", error)


def status(words: str) -> str:
    """The line that `systemctl status` shows."""
    return f"STATUS={' '.join(words.split())}"


def extension(seconds: float) -> str:
    """Wait so much longer for the next such word, when the time to start or to stop is over."""
    return f"EXTEND_TIMEOUT_USEC={round(seconds * 1_000_000)}"


def watchdog_seconds() -> float | None:
    """Within how many seconds systemd wants to hear `WATCHDOG=1`; None when it does not watch this process."""
    microseconds, watched = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not (microseconds.isascii() and microseconds.isdecimal() and int(microseconds)):
        return None
    return int(microseconds) / 1_000_000 if watched in ("", str(os.getpid())) else None
