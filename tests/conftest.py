"""Fixtures that every kind of test shares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.postgres import Postgres

ROOT = Path(__file__).parents[1]
MIGRATIONS = sorted((ROOT / "sql_migrations").glob("*.sql"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Postgres]:
    """A PostgreSQL of this test module's own, with all migrations applied as role `postgres`."""
    with Postgres() as server:
        for script in MIGRATIONS:
            server.psql(script.read_text())
        yield server
