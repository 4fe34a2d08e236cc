"""The time line of a job, from its history and its log."""

from __future__ import annotations

from typing import Any

from consumer.timeline import timeline

Json = dict[str, Any]


def at(second: float) -> str:
    return f"2026-01-01T03:00:{second:06.3f}+00:00"


def event(kind: str, second: float, attempt: int | None = 1, **detail: str) -> Json:
    return {"kind": kind, "at": at(second), "attempt": attempt, "worker": "w1", "detail": detail}


def line(phase: str | None, second: float) -> Json:
    return {"phase": phase, "timestamp": at(second), "message": "…"}


def told(spans: list[Json]) -> list[str]:
    """Each span in a few words."""
    seconds = {name: str(int(float(name[17:23]))) for span in spans for name in (span["from"], span["to"])}
    return [
        f"{seconds[span['from']]}-{seconds[span['to']]} "
        + (f"{span['attempt']} {span['outcome']} {span['code']}" if span["kind"] == "attempt" else "wait")
        for span in spans
    ]


def test_a_job_waits_works_and_is_completed() -> None:
    log = [
        line("analyze", 1.999),
        line("analyze", 3),
        line("workflow_generation", 5),
        line(None, 6),
        line("validation", 8),
    ]
    spans = timeline(at(0), [event("claimed", 2), event("completed", 9)], log, at(30))
    assert told(spans) == ["0-2 wait", "2-9 1 completed None"]
    assert [(each["phase"], each["from"], each["to"]) for each in spans[1]["phases"]] == [
        ("analyze", at(2), at(5)), ("workflow_generation", at(5), at(8)), ("validation", at(8), at(9)),
    ]  # fmt: skip


def test_each_attempt_has_its_own_phases_and_what_it_ended_with() -> None:
    events = [event("claimed", 1), event("retry", 4, code="MODEL_TIMEOUT"), event("claimed", 6, 2),
              event("failed", 9, 2, code="ATTEMPTS_EXHAUSTED")]  # fmt: skip
    log = [line("analyze", 1), line("workflow_generation", 3), line("workflow_generation", 7)]
    spans = timeline(at(0), events, log, at(30))
    assert told(spans) == ["0-1 wait", "1-4 1 retry MODEL_TIMEOUT", "4-6 wait", "6-9 2 failed ATTEMPTS_EXHAUSTED"]
    assert [[each["phase"] for each in span.get("phases", [])] for span in spans] == [
        [], ["analyze", "workflow_generation"], [], ["workflow_generation"],
    ]  # fmt: skip


def test_what_goes_on_ends_now() -> None:
    assert told(timeline(at(0), [], [], at(7))) == ["0-7 wait"]
    assert told(timeline(at(0), [event("claimed", 2)], [], at(7))) == ["0-2 wait", "2-7 1 None None"]


def test_a_new_round_begins_when_it_is_asked_for() -> None:
    events = [event("claimed", 1), event("cancel_requested", 2), event("cancelled", 3, code="CANCELLED"),
              event("retried", 10, None), event("claimed", 11, 2), event("completed", 12, 2)]  # fmt: skip
    assert told(timeline(at(0), events, [], at(30))) == [
        "0-1 wait", "1-3 1 cancelled CANCELLED", "10-11 wait", "11-12 2 completed None",
    ]  # fmt: skip


def test_a_job_that_is_cancelled_while_it_waits_has_only_waited() -> None:
    assert told(timeline(at(0), [event("cancelled", 5, None)], [], at(30))) == ["0-5 wait"]


def test_an_attempt_without_log_lines_and_lines_without_a_time_are_bearable() -> None:
    log: list[Json] = [{"phase": "analyze", "timestamp": "yesterday"}, {"phase": "analyze"}, {"timestamp": 7}]
    [_, attempt] = timeline(at(0), [event("claimed", 2), event("completed", 9)], log, at(30))
    assert [each["phase"] for each in attempt["phases"]] == ["work"]
