"""Fixtures that every kind of test shares."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from devstack.postgres import Postgres

ROOT = Path(__file__).parents[1]
MIGRATIONS = sorted((ROOT / "sql_migrations").glob("*.sql"))

# Machines are shared and noisy: no test fails for being slow. CI looks at the same examples each time.
settings.register_profile(
    "ours", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("ours")

# A shell starts what runs in its background with SIGINT ignored, and so would be every process that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command that ran in this process has sent all logging to its own stderr: the next test begins without that."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Postgres]:
    """A PostgreSQL of this test module's own, with all migrations applied as role `postgres`."""
    with Postgres() as server:
        for script in MIGRATIONS:
            server.psql(script.read_text())
        yield server
