"""Commands about workflows themselves: validate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from consumer.cli.common import fail, print_json
from consumer.errors import ConfigurationError, Violation
from consumer.sysexits import EX_DATAERR
from schemas.clean import one_line

if TYPE_CHECKING:
    from schemas.catalog import Catalog

# The table takes 4 MiB (sql_migrations/13); this leaves room for blanks.
MAX_BYTES = 16 * 2**20


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--catalog", envvar="WORKFLOW_CATALOG", type=click.Path(path_type=Path), help="Node types to add or to replace."
)
@click.option("--json", "as_json", is_flag=True, help="Print the violations as JSON.")
def validate(file: IO[bytes], catalog: Path | None, as_json: bool) -> None:
    """Check a workflow (flat form, JSON) against every rule; needs no server. FILE may be - for standard input.

    Each line says where, how bad, what is wrong and what would fix it. An error makes the workflow invalid (exit code
    65); a warning does not.

    \b
    Example:
      consumer validate workflow.json
    """
    from schemas.validator import advise, validate_workflow

    name = getattr(file, "name", "<stdin>")
    try:
        workflow = json.loads(_text(file), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise fail(f"{name} is not usable JSON: {error}", EX_DATAERR) from error
    types = _types(catalog)
    errors, warnings = validate_workflow(workflow, types), advise(workflow, types)
    if as_json:
        print_json([violation.as_json() for violation in (*errors, *warnings)])
    for violation in [] if as_json else (*errors, *warnings):
        click.echo(_line(violation))
    told = f", {len(warnings)} warning(s)" if warnings else ""
    if errors:
        raise fail(f"{name}: {len(errors)} violation(s){told}", EX_DATAERR)
    click.echo(f"{name}: valid{told}", err=True)


def _types(path: Path | None) -> Catalog:
    from schemas.catalog import Catalog

    try:
        return Catalog.load(path)
    except ConfigurationError as error:
        raise fail(str(error), error.exit_code) from error


def _line(violation: Violation) -> str:
    # A key of the file can be hostile to a terminal, and it is in the pointer.
    where = one_line(violation.pointer, 200) or "/"
    return f"{violation.code:28} {where}  {violation.severity}: {violation.message} {violation.fix}"


def _text(file: IO[bytes]) -> str:
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES // 2**20} MiB")
    return data.decode("utf-8-sig")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers would see two workflows in an object that names a key twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object names a key twice")
    return found
