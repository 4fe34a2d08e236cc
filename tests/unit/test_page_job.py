"""One job as the page shows it: what is kept, what is cut, and what to do about its error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consumer.advice import advice
from consumer.errors import ErrorCode
from consumer.page_job import MOST, detail, drawing
from schemas.catalog import Catalog

NOW = "2026-01-01T03:00:00+00:00"
ROW: dict[str, Any] = {
    "id": "one", "status": "failed", "mode": "create", "prompt": "Mail me", "priority": 0, "progress": 40,
    "phase": "validation", "attempt": 2, "worker": "w1", "retry_count": 1, "max_retries": 3, "created_at": NOW,
    "run_at": NOW, "started_at": NOW, "finished_at": NOW, "updated_at": NOW, "duration_ms": 5,
    "cancel_requested": False, "preview": None, "log": None, "observability": None, "error_message": None,
    "error_details": None, "workflow": None, "now": NOW, "events": [],
}  # fmt: skip
WORKFLOW = {
    "name": "Mail", "summary": "Mails me.", "edges": [], "requiredCredentials": [],
    "nodes": [{"id": "w_1", "type": "webhook", "position": {"x": 0, "y": 0}, "config": {"method": "POST"}}],
}  # fmt: skip


def shown(**columns: object) -> dict[str, Any]:
    return detail(ROW | columns, Catalog.load())


def test_a_row_with_nothing_in_it_is_shown() -> None:
    found = shown()
    assert (found["error"], found["outline"], found["log"], found["figures"], found["preview"]) == (
        None,
        None,
        [],
        [],
        [],
    )


def test_a_cause_says_more_than_that_the_retries_are_spent() -> None:
    details = {"code": "ATTEMPTS_EXHAUSTED", "cause": "MODEL_TIMEOUT", "clock": "load", "phase": "analyze"}
    error = shown(error_details=details, error_message="Too slow.")["error"]
    assert (error["code"], error["cause"], error["message"]) == ("ATTEMPTS_EXHAUSTED", "MODEL_TIMEOUT", "Too slow.")
    assert "OLLAMA_LOAD_TIMEOUT" in error["advice"]


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_code_has_advice_in_one_line(code: ErrorCode) -> None:
    assert 20 < len(advice(code.value)) < 200
    assert "\n" not in advice(code.value)


@pytest.mark.parametrize("code", ["NEW_CODE", None, 7, ["CANCELLED"]])
def test_an_unknown_code_leads_to_the_log(code: object) -> None:
    assert "log" in advice(code)


@pytest.mark.parametrize("clock", ["load", "first_token", "between_tokens", "total"])
def test_each_clock_that_runs_out_names_its_setting(clock: str) -> None:
    assert "TIMEOUT" in advice("MODEL_TIMEOUT", clock)


def test_long_lists_and_texts_are_cut() -> None:
    many = [{"code": "CYCLE", "pointer": "/", "message": "m" * 9000, "fix": "f", "by": "code"}] * 5000
    found = shown(
        prompt="p" * 20_000, error_message="e" * 2000, error_details={"code": "X", "violations": many, "history": many},
        observability={"repairs": many, "phases": {str(n): {"model": "m" * 9000} for n in range(5000)}},
        log=many, preview={"nodes": ["n" * 9000] * 5000},
    )  # fmt: skip
    assert [len(found[name]) for name in ("violations", "history", "repairs", "figures", "log", "preview")] == [
        MOST
    ] * 6
    assert len(json.dumps(found)) < 400_000


@pytest.mark.parametrize("junk", [7, "text", [], [1, "a", None], {"violations": 7, "history": {}, "phases": [1]}, True])
def test_values_of_other_shapes_are_passed_over(junk: object) -> None:
    shown(error_details=junk, observability=junk, log=junk, preview=junk, events=[])


def test_the_newest_of_many_events_end_the_time_line() -> None:
    events = [
        {"kind": kind, "at": f"2026-01-01T03:{n % 60:02}:00+00:00", "attempt": n // 2, "worker": "w", "detail": {}}
        for n, kind in enumerate(["claimed", "released"] * 99 + ["claimed", "failed"])
    ]
    assert shown(events=events)["timeline"][-1]["outcome"] == "failed"


def test_control_characters_do_not_reach_the_page() -> None:
    found = shown(prompt="a\x1b[31mb\u202ec", error_details={"code": "A\x07B"}, error_message="x\x00y")
    assert (found["prompt"], found["error"]["code"], found["error"]["message"]) == ("abc", "AB", "xy")


def test_a_sound_workflow_is_told_and_drawn_and_another_is_not() -> None:
    assert "Starts with: Webhook [webhook]" in shown(workflow=WORKFLOW)["outline"]
    assert str(drawing(ROW | {"workflow": WORKFLOW}, Catalog.load())).startswith("<svg ")
    for broken in (None, {}, {"nodes": 7}):
        assert shown(workflow=broken)["outline"] is None
        assert drawing(ROW | {"workflow": broken}, Catalog.load()) is None
