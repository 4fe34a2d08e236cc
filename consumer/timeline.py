"""Puts a job's history on a time line: how long it waited, and each attempt with its phases. Pure.

Called by the page. Works from `workflow_job_events` and `progress_logs`; of an attempt whose log lines are gone (only
the newest 100 are kept) it shows the span alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from consumer.job import JsonObject

AGAIN = frozenset({"retry", "released", "rescued"})
ENDINGS = AGAIN | {"completed", "failed", "cancelled"}
# What an attempt without a known phase is shown as.
WORK = "work"


def timeline(created_at: str, events: Sequence[JsonObject], log: Sequence[JsonObject], now: str) -> list[JsonObject]:
    """The job's rounds of waiting and work, in order; all times ISO 8601, by the database's clock.

    `{kind: "wait", from, to}` and `{kind: "attempt", attempt, worker, from, to, outcome, code, phases: [{phase, from,
    to}]}`. The `outcome` of what goes on still is None, and its end is `now`.
    """
    return list(_spans(created_at, events, log, now))


def _spans(begin: str, events: Sequence[JsonObject], log: Sequence[JsonObject], now: str) -> Iterator[JsonObject]:
    since, over = begin, False  # since when it has waited, or did before the running attempt
    running: JsonObject | None = None
    for event in events:
        kind, at = event["kind"], event["at"]
        if kind == "claimed":
            yield _wait(since, at)
            running = event
        elif kind in ENDINGS:
            yield _attempt(running, at, _between(log, since, at), event) if running else _wait(since, at)
            running, since, over = None, at, kind not in AGAIN
        elif kind == "retried":
            since, over = at, False
    if running is not None:
        yield _attempt(running, now, _between(log, since, now), None)
    elif not over:
        yield _wait(since, now)


def _wait(begin: str, end: str) -> JsonObject:
    return {"kind": "wait", "from": begin, "to": end}


def _attempt(claimed: JsonObject, end: str, log: Sequence[JsonObject], ending: JsonObject | None) -> JsonObject:
    return {
        "kind": "attempt",
        "attempt": claimed["attempt"],
        "worker": claimed["worker"],
        "from": claimed["at"],
        "to": end,
        "outcome": ending["kind"] if ending else None,
        "code": ending["detail"].get("code") if ending else None,
        "phases": _phases(claimed["at"], end, log),
    }


def _phases(begin: str, end: str, log: Sequence[JsonObject]) -> list[JsonObject]:
    """The first begins with the attempt, each other one with its first line, and the last ends with the attempt."""
    starts: list[tuple[str, str]] = []
    for line in log:
        phase = line.get("phase")
        if isinstance(phase, str) and (not starts or starts[-1][0] != phase):
            starts.append((phase, line["timestamp"] if starts else begin))
    starts = starts or [(WORK, begin)]
    ends = [at for _, at in starts[1:]] + [end]
    return [{"phase": phase, "from": at, "to": to} for (phase, at), to in zip(starts, ends, strict=True)]


def _between(log: Sequence[JsonObject], after: str, until: str) -> list[JsonObject]:
    """The lines of the attempt that ended at `until` and that came after another one ended.

    A worker's stamps lag a little behind the database's clock, so a line may be older than its attempt's claim.
    """
    first, last = _moment(after), _moment(until)
    return [line for line in log if (at := _moment(line.get("timestamp"))) and first and last and first < at <= last]


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment if moment and moment.tzinfo else None
