"""The real Supabase CLI (npm, a native binary, no Docker) against the embedded PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devstack.postgres import Postgres
from tests.conftest import MIGRATIONS, ROOT
from tests.integration.test_sql_migrations import RECORD, dump
from tests.node import node_modules

Cli = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def project() -> Iterator[Postgres]:
    """A new project: before its first migration."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module")
def cli(project: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """Run `supabase ARGS… --remote=<the project>`, on a copy of the folder, with nothing said to anybody outside."""
    tool = node_modules() / ".bin" / "supabase"
    home = tmp_path_factory.mktemp("home")
    workdir = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "supabase", workdir / "supabase", symlinks=True, ignore=shutil.ignore_patterns(".temp"))
    (workdir / "sql_migrations").symlink_to(ROOT / "sql_migrations")
    quiet = {"DO_NOT_TRACK": "1", "SUPABASE_TELEMETRY_DISABLED": "1", "SUPABASE_NO_UPDATE_NOTIFIER": "1"}
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), **quiet}

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        where = [f"--remote={project.url()}?sslmode=disable", "--workdir", str(workdir), "--yes", "--agent", "no"]
        return subprocess.run(
            [tool, *args, *where], capture_output=True, text=True, timeout=120, check=False, env=environment,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return run


def test_a_push_applies_every_migration_and_a_second_push_nothing(cli: Cli, project: Postgres) -> None:
    first = cli("db", "push")
    assert first.returncode == 0, first.stderr
    versions = project.psql("select version || '_' || name from supabase_migrations.schema_migrations order by 1")
    assert [Path(line).name.partition("_")[2] + ".sql" for line in versions.splitlines()] == [
        script.name.partition("_")[2] for script in MIGRATIONS
    ]
    second = cli("db", "push")
    assert second.returncode == 0, second.stderr
    assert "up to date" in second.stdout + second.stderr
    assert "Applying" not in second.stdout + second.stderr


def test_a_push_builds_the_schema_on_record(cli: Cli, project: Postgres) -> None:
    cli("db", "push")
    assert dump(project) == RECORD.read_text()


def test_the_advisors_find_nothing(cli: Cli) -> None:
    cli("db", "push")
    done = cli("db", "advisors", "--fail-on", "warn")
    assert done.returncode == 0, done.stdout
    assert "No issues found" in done.stdout + done.stderr


def test_the_advisors_do_look(cli: Cli, project: Postgres) -> None:
    project.psql("create table public.open_to_all (id int primary key); grant all on public.open_to_all to anon")
    try:
        done = cli("db", "advisors", "--fail-on", "warn")
    finally:
        project.psql("drop table public.open_to_all")
    assert done.returncode != 0
    assert "rls_disabled_in_public" in done.stdout
