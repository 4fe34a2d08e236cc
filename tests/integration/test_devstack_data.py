"""The embedded stack's data folder: what a killed first start leaves behind heals, what is damaged is named."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.errors import DevStackError
from devstack.postgres import Postgres
from devstack.stack import DevStack, apply_migrations


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user may enter when the tests run as root."""
    path = Path(tempfile.mkdtemp(prefix="workflow-test-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_data_stays_over_a_restart(folder: Path) -> None:
    with Postgres(folder / "home" / "pgdata") as server:
        assert apply_migrations(server)
        server.psql("insert into public.workflow_generation_jobs (id, prompt) values ('kept', 'p')")
    with Postgres(folder / "home" / "pgdata") as server:
        assert apply_migrations(server) == []
        assert server.psql("select id from public.workflow_generation_jobs") == "kept"


@pytest.mark.parametrize("record", ["array['sha256:0']", "null"], ids=["another", "older than the records"])
def test_data_of_other_migrations_are_named_with_the_way_out(folder: Path, record: str) -> None:
    with Postgres(folder / "home" / "pgdata") as server:
        apply_migrations(server)
        server.psql(f"update supabase_migrations.schema_migrations set statements = {record} where version like '%24'")
        said = rf"{folder}/home was made with another version of 24_workflow_doctor\.sql\. .*rm -r {folder}/home, or"
        with pytest.raises(DevStackError, match=said):
            apply_migrations(server)


def test_a_cluster_whose_bootstrap_was_cut_short_is_made_anew(folder: Path) -> None:
    with Postgres(folder / "home" / "pgdata") as server:
        server.psql("drop role authenticator", user="supabase_admin")
        (server.data / "bootstrap.complete").unlink()
    with Postgres(folder / "home" / "pgdata") as server:
        assert server.psql("select rolname from pg_roles where rolname = 'authenticator'") == "authenticator"


async def test_damaged_keys_are_named(folder: Path) -> None:
    (folder / "keys.json").touch()
    with pytest.raises(DevStackError, match=r"damaged\. Remove it"):
        await DevStack(folder, with_model=False).start()


def test_no_password_is_in_the_process_list(folder: Path) -> None:
    with Postgres(folder / "home" / "pgdata") as server:
        assert server.password not in server.psql(r"\! ps -e -o args")
