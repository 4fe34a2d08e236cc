"""One job as the page shows it: bounded, cleaned, and with what to do. Pure; a large workflow is for a thread.

Called by the page's routes with what `workflow_page_job` answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consumer.advice import advice
from consumer.job import JsonObject
from consumer.replies import JobLine
from consumer.timeline import timeline
from handlers.outline import outline
from schemas import picture, rules_shape
from schemas.catalog import Catalog
from schemas.clean import clean_text, one_line

# So many entries of each list; a broken workflow may have thousands of violations, and the first tell what is wrong.
MOST = 100
MOST_TEXT = 20_000
PLAIN = (
    "id", "status", "mode", "priority", "progress", "phase", "attempt", "worker", "retry_count", "max_retries",
    "created_at", "run_at", "started_at", "finished_at", "updated_at", "duration_ms", "cancel_requested", "now",
)  # fmt: skip
SAME = {"id", "status", "mode", "priority", "attempt", "created_at", "run_at", "started_at", "finished_at"}


def detail(row: JsonObject, catalog: Catalog) -> JsonObject:
    """The row's plain columns; prompt, log, time line, attempts before, violations, repairs, figures, the workflow in
    words (None where there is none that can be shown), and `preview`: the names of the nodes so far.
    """
    wrong = _object(row["error_details"])
    figures = _object(row["observability"])
    log = _objects(row["log"])
    workflow = shown_workflow(row)
    return {
        **{name: row[name] for name in PLAIN},
        "prompt": clean_text(row["prompt"], MOST_TEXT),
        "timeline": timeline(row["created_at"], row["events"], log, row["finished_at"] or row["now"]),
        "log": [_line(line) for line in log],
        "error": _error(row, wrong),
        "history": [_part(entry, ("attempt", "code", "message", "at")) for entry in _objects(wrong.get("history"))],
        "violations": [
            _part(each, ("code", "pointer", "message", "fix")) for each in _objects(wrong.get("violations"))
        ],
        "repairs": [_part(each, ("by", "code", "pointer", "message")) for each in _objects(figures.get("repairs"))],
        "figures": _figures(figures),
        "preview": _names(_object(row["preview"])),
        "outline": clean_text(outline(workflow, catalog), 5 * MOST_TEXT) if workflow else None,
    }


def listed(job: JobLine) -> JsonObject:
    """A job of the list, in the words of `workflow_page`."""
    said = job.model_dump(mode="json", include=SAME)
    return {
        **said,
        "prompt": one_line(job.prompt_start, 120),
        "progress": job.progress_percentage,
        "phase": job.current_phase,
        "worker": job.worker_id,
        "code": _short(job.error_code),
    }


def drawing(row: JsonObject, catalog: Catalog) -> str | None:
    """The finished workflow as an SVG document; None where there is none that can be drawn."""
    workflow = shown_workflow(row)
    return picture.svg(workflow, catalog) if workflow else None


def shown_workflow(row: JsonObject) -> JsonObject | None:
    """The finished workflow, when its shape is sound, so that everything can be drawn."""
    workflow: JsonObject | None = row["workflow"]
    return None if workflow is None or next(iter(rules_shape.check(workflow)), None) else workflow


def _error(row: JsonObject, wrong: JsonObject) -> JsonObject | None:
    """What the job failed with; a cause counts more than that its retries are spent."""
    code = wrong.get("code")
    if code is None:
        return None
    why = wrong.get("cause") or code
    message = clean_text(str(row["error_message"] or ""), 2000)
    return {"code": one_line(str(code)), "cause": _short(wrong.get("cause")), "phase": _short(wrong.get("phase")),
            "message": message, "advice": advice(why, wrong.get("clock"))}  # fmt: skip


def _figures(figures: JsonObject) -> list[JsonObject]:
    """Of each model step: its model, times (ms), tokens and speed."""
    names = ("model", "model_load_time_ms", "queue_time_ms", "prompt_time_ms", "time_to_first_token_ms",
             "inference_time_ms", "input_tokens", "output_tokens", "tokens_per_second")  # fmt: skip
    phases = _object(figures.get("phases"))
    return [{"step": one_line(step), **_part(_object(each), names)} for step, each in list(phases.items())[:MOST]]


def _line(line: JsonObject) -> JsonObject:
    return {"at": line.get("timestamp"), **_part(line, ("message", "progress", "phase"))}


def _names(preview: JsonObject) -> list[str]:
    nodes = preview.get("nodes")
    return [one_line(str(name)) for name in nodes[:MOST]] if isinstance(nodes, list) else []


def _part(value: JsonObject, names: Sequence[str]) -> JsonObject:
    return {name: _short(value.get(name)) for name in names}


def _short(value: Any) -> str | float | None:
    """A number, or what it is as one line of text."""
    return value if value is None or isinstance(value, int | float) else one_line(str(value), 500)


def _object(value: Any) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[JsonObject]:
    return [each for each in value[:MOST] if isinstance(each, dict)] if isinstance(value, list) else []
