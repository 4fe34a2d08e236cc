"""Waiting for a condition by name instead of for a time."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(what: str, condition: Callable[[], object], timeout: float = 60, every: float = 0.05) -> None:
    """Until the condition holds; fails by its name when it does not within a generous bound."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"never happened: {what}")
        time.sleep(every)
