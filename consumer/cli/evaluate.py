"""The command eval: how good the workflows are, on a file of prompts."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consumer.cli.common import command, fail, quiet_logs
from consumer.settings import load_model_settings
from consumer.sysexits import EX_DIFFERENT

if TYPE_CHECKING:
    from rich.table import Table

    from consumer.cases import Case
    from consumer.scores import Figures, Report, Score

_TITLES = {"pipeline": "this system", "old": "old system"}
_SHARES = {
    "completed_and_valid": "completed and valid",
    "invalid_completed": "invalid completed",
    "trigger_right": "right trigger",
    "nodes_found": "must-have nodes found",
}


def _writable(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """Looked at before hours of work, not after."""
    if value is not None and not os.access(value if value.exists() else value.parent, os.W_OK):
        raise click.BadParameter(f"{value} cannot be written. Choose a folder that exists and is yours.")
    return value


@click.command("eval")
@click.argument("prompts", type=click.Path(path_type=Path))
@click.option("--model", help="Use this model for all steps (default: ANALYZE_MODEL and GENERATE_MODEL).")
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
@click.option("--baseline", type=click.Path(path_type=Path), help="Compare with these figures; exit 1 when worse.")
@click.option(
    "--save", type=click.Path(dir_okay=False, path_type=Path), callback=_writable, help="Keep the figures in this file."
)
@click.option("--old", is_flag=True, help="Also run the old system's plain prompt, for a second column.")
@command
async def evaluate(
    prompts: Path, model: str | None, as_json: bool, baseline: Path | None, save: Path | None, old: bool
) -> None:
    """Run PROMPTS through the pipeline and score the results. Needs the model server only, no database.

    PROMPTS holds one JSON object a line: id and prompt; if need be mode, config, current_workflow and
    execution_history; and as labels trigger, nodes (types that must be there; "a|b" allows either) and tags.

    \b
    Example:
      consumer eval benchmarks/prompts.jsonl --model qwen2.5:7b --save today.json
    """
    cases, file_hash = _cases(prompts)
    saved = _saved(baseline) if baseline else None
    report = await _report(cases, file_hash, model, old)
    _keep(report, save)
    _show(report, as_json)
    if saved:
        _compare(report, saved)


def _text(path: Path) -> str:
    from consumer.cases import NoSuchFile, UnusableFile

    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise NoSuchFile(f"{path}: {os.strerror(error.errno or 0)}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise UnusableFile(f"{path}: is not UTF-8 text. Save it as UTF-8.") from error


def _cases(path: Path) -> tuple[list[Case], str]:
    from consumer.cases import read_cases
    from schemas.catalog import Catalog

    text = _text(path)
    return read_cases(text, str(path), Catalog.load()), hashlib.sha256(text.encode()).hexdigest()


def _saved(path: Path) -> Report:
    from pydantic import ValidationError

    from consumer.cases import UnusableFile
    from consumer.scores import Report

    try:
        report = Report.model_validate_json(_text(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UnusableFile(f"{path}: {where}: {first['msg']}. Write it with: consumer eval … --save {path}") from error
    if "pipeline" not in report.systems:
        raise UnusableFile(f"{path}: systems.pipeline is missing. Write it with: consumer eval … --save {path}")
    return report


async def _report(cases: list[Case], file_hash: str, model: str | None, old: bool) -> Report:
    from consumer.evaluation import evaluate as run
    from consumer.scores import Report, System

    settings = load_model_settings(**({"analyze_model": model, "generate_model": model} if model else {}))
    quiet_logs(settings)
    systems: tuple[System, ...] = ("pipeline", "old") if old else ("pipeline",)
    figures = {system: await run(settings, cases, system, _say) for system in systems}
    return Report(models=dict(settings.models.items()), prompts_hash=file_hash, systems=figures)


def _keep(report: Report, path: Path | None) -> None:
    if path:
        path.write_text(report.model_dump_json(indent=1) + "\n", "utf-8")


def _say(number: int, of: int, score: Score) -> None:
    codes = ", ".join(dict.fromkeys((*([score.code] if score.code else []), *score.violations)))
    result = f"{score.outcome} {codes}".rstrip()
    click.echo(f"[{number:>{len(str(of))}}/{of}] {score.seconds:6.1f} s  {score.id}: {result}", err=True)


def _compare(report: Report, saved: Report) -> None:
    from consumer.scores import differences, regressions

    for note in differences(report, saved):
        click.echo(f"consumer: note: {note}", err=True)
    if worse := regressions(report, saved):
        raise fail("\n".join(worse), EX_DIFFERENT)
    click.echo("eval: not worse than the baseline", err=True)


def _show(report: Report, as_json: bool) -> None:
    if as_json:
        click.echo(report.model_dump_json(indent=2))
        return
    from rich.console import Console

    console = Console(width=None if os.isatty(1) else 110)
    console.print(_overview(report))
    for system, figures in report.systems.items():
        if any(not score.valid for score in figures.prompts):
            console.print(_failures(_TITLES[system], figures))
        if any(score.valid and not score.as_labelled for score in figures.prompts):
            console.print(_missed(_TITLES[system], figures))


def _overview(report: Report) -> Table:
    from rich.table import Table

    table = Table(title=f"Model: {', '.join(dict.fromkeys(report.models.values()))}", title_justify="left")
    table.add_column("share, with its 95 % interval")
    for system in report.systems:
        table.add_column(_TITLES[system])
    columns = [_cells(figures) for figures in report.systems.values()]
    for name in columns[0]:
        table.add_row(name, *(cells[name] for cells in columns))
    return table


def _cells(figures: Figures) -> dict[str, str]:
    return {
        **{title: str(figures.shares[name]) for name, title in _SHARES.items()},
        "outcomes": _counts(figures.outcomes),
        "violations": _counts(figures.violations),
        "repairs by code": _counts(figures.repairs),
        "repairs by the model": str(figures.model_repairs),
        "attempts": str(figures.attempts),
        "tokens in, out": f"{figures.input_tokens}, {figures.output_tokens}",
        "seconds, median": f"{figures.seconds:.0f}, {figures.median_seconds:.1f}",
    }


def _counts(counts: object) -> str:
    return "\n".join(f"{name} {count}" for name, count in dict(counts).items()) or "none"  # type: ignore[call-overload]


def _failures(title: str, figures: Figures) -> Table:
    from rich.table import Table

    table = Table("prompt", "outcome", "violations", title=f"Not valid: {title}", title_justify="left")
    for score in figures.prompts:
        if not score.valid:
            table.add_row(score.id, score.code or score.outcome, ", ".join(dict.fromkeys(score.violations)))
    return table


def _missed(title: str, figures: Figures) -> Table:
    from rich.table import Table

    table = Table("prompt", "wrong trigger", "nodes not there", title=f"Labels missed: {title}", title_justify="left")
    for score in figures.prompts:
        if score.valid and not score.as_labelled:
            wrong = ", ".join(score.triggers) if score.trigger_right is False else ""
            table.add_row(score.id, wrong, ", ".join(score.nodes_missing))
    return table
