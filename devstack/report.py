"""What the demo shows: live progress while the job runs, and the finished workflow with its times and figures."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from consumer.job import JsonObject
from handlers.graph import draw
from schemas.catalog import Catalog
from schemas.validator import validate_workflow

_console = Console(highlight=False)


def say(text: str) -> None:
    """One line of words."""
    _console.print(Text(text), soft_wrap=True)


class Live:
    """The progress bar and the growing list of what has been generated; plain lines when not on a terminal."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description:22}"),
            BarColumn(40),
            TextColumn("{task.percentage:>3.0f} %"),
            console=_console,
        )
        self._task: TaskID | None = None
        self._shown: list[str] = []
        self._last = ""

    def __enter__(self) -> Self:
        if _console.is_terminal:
            self._bar.start()
            self._task = self._bar.add_task("waiting", total=100)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if _console.is_terminal:
            self._bar.stop()

    def show(self, record: JsonObject) -> None:
        """Show one state of the row, as an UPDATE event brought it."""
        phase = record.get("current_phase") or record.get("status") or ""
        percent = record.get("progress_percentage") or 0
        if self._task is not None:
            self._bar.update(self._task, completed=percent, description=str(phase))
        elif (line := f"{percent:3} %  {phase}") != self._last:
            self._last = line
            say(line)
        labels = [str(label) for label in (record.get("preview") or {}).get("nodes", [])]
        for label in labels[len(self._shown) :]:
            say(f"       node {len(self._shown) + 1}: {printable(label)}")
            self._shown.append(label)


def printable(text: str) -> str:
    """Model text for a terminal: no control characters."""
    return "".join(char for char in text if char.isprintable())


def print_report(row: JsonObject) -> int:
    """Print the finished job; returns 0 when it holds a valid workflow, else 1."""
    if row["status"] != "completed":
        say(f"Job {row['status']}: {row.get('error_message')}")
        say(json.dumps(row.get("error_details"), indent=2))
        return 1
    workflow = row["workflow_result"]
    violations = validate_workflow(workflow, Catalog.load())
    say("\nWorkflow\n" + draw(workflow))
    say("\nJSON\n" + json.dumps(workflow, indent=2, ensure_ascii=True))
    say("\nValid: " + ("yes, every rule of the contract holds" if not violations else "NO"))
    for violation in violations:
        say(f"  {violation.code} {violation.pointer} {violation.message}")
    _console.print(_times(row))
    _console.print(_figures(row["observability"]))
    return 1 if violations else 0


def _times(row: JsonObject) -> Table:
    table = Table("step", "after insert", title="Times", title_justify="left")
    inserted, claimed = (datetime.fromisoformat(row[name]) for name in ("created_at", "started_at"))
    heard = claimed - timedelta(milliseconds=row["observability"].get("event_to_request_ms") or 0)
    table.add_row("insert", "0 ms")
    table.add_row(f"event ({row['observability'].get('doorbell')}), at the latest", _after(inserted, heard))
    table.add_row("claimed", _after(inserted, claimed))
    for line in row["progress_logs"]:
        table.add_row(printable(line["message"]), _after(inserted, datetime.fromisoformat(line["timestamp"])))
    table.add_row("finished", _after(inserted, datetime.fromisoformat(row["finished_at"])))
    return table


def _after(start: datetime, end: datetime) -> str:
    return f"{(end - start).total_seconds() * 1000:,.0f} ms"


def _figures(observability: JsonObject) -> Table:
    phases = observability.get("phases", {})
    table = Table("figure", *phases, "sum", title="Model server's own figures", title_justify="left")
    for key in ("model", "model_load_time_ms", "queue_time_ms", "prompt_time_ms", "inference_time_ms",
                "time_to_first_token_ms", "input_tokens", "output_tokens", "tokens_per_second"):  # fmt: skip
        table.add_row(key, *(_cell(figures.get(key)) for figures in phases.values()), _cell(observability.get(key)))
    return table


def _cell(value: object) -> str:
    return f"{value:,.1f}" if isinstance(value, float) else str(value if value is not None else "–")
