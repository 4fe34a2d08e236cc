"""What the demo shows in the end: the finished workflow with its times and figures."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer.job import JsonObject
from handlers.graph import draw
from schemas.catalog import Catalog
from schemas.clean import one_line
from schemas.validator import validate_workflow

_console = Console(highlight=False)


def say(text: str) -> None:
    """One line of words."""
    _console.print(Text(text), soft_wrap=True)


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
        table.add_row(one_line(line["message"], 200), _after(inserted, datetime.fromisoformat(line["timestamp"])))
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
