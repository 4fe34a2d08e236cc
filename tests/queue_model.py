"""The queue as it should behave, in plain Python. `integration/test_queue_state_machine.py` holds PostgreSQL to it.

Each method is one call of the API and returns what the call answers, times left out. Time stands still until
`pass_time`, which ends one job's lease or delay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

AGAIN = ("retry", "released", "rescued")
TERMINAL = ("completed", "failed", "cancelled")
# Of so many jobs claimed in a row, so many may overtake a waiting one for the sake of the loaded model.
RECENT, OVERTAKING = 32, 8
VISIBLE = ("id", "user_id", "status", "attempt", "retry_count", "max_retries", "worker_id", "workflow_result",
           "progress_percentage", "write_seq", "priority", "fair_rank", "claim_key", "checkpoint")  # fmt: skip


@dataclass
class Job:
    """One row. The fields in `VISIBLE` are columns; `asked` is the history: how each ended attempt was settled."""

    id: str
    user_id: str | None
    priority: int
    fair_rank: int
    made: int
    status: str = "pending"
    attempt: int = 0
    retry_count: int = 0
    max_retries: int = 3
    worker_id: str | None = None
    workflow_result: dict[str, Any] | None = None
    progress_percentage: int = 0
    write_seq: int = 0
    claim_key: str | None = None
    code: str | None = None
    due: bool = True
    expired: bool = False
    cancel_wanted: bool = False
    started: bool = False
    # its last attempt was lost with its worker, which it may have been the end of
    suspect: bool = False
    checkpoint: dict[str, Any] | None = None
    # for each job claimed while this could have been: whether it came from behind
    overtaken: list[bool] = field(default_factory=list)
    asked: dict[int, str] = field(default_factory=dict)
    last_event: str | None = None

    def row(self) -> dict[str, Any]:
        """What a look at the row shows."""
        finished = {"finished": self.status in TERMINAL, "leased": self.status == "processing"}
        return {name: getattr(self, name) for name in VISIBLE} | finished | {
            "code": self.code, "cancel_wanted": self.cancel_wanted, "started": self.started,
            "timed": self.started and self.status in TERMINAL,
        }  # fmt: skip

    @property
    def place(self) -> tuple[int, int]:
        """Its place among jobs of the same priority."""
        return self.fair_rank, self.made

    @property
    def next_step(self) -> str:
        return "generate" if self.checkpoint and "analyze" in self.checkpoint else "analyze"

    @property
    def patience(self) -> int:
        """How many may still overtake this one."""
        return 0 if self.suspect else OVERTAKING - sum(self.overtaken[-RECENT:])

    def ending_of(self, outcome: str) -> str:
        """A wanted cancel wins over everything but a failure, and spent retries make a failure."""
        if self.cancel_wanted and outcome != "failed":
            return "cancelled"
        spent = outcome in ("retry", "rescued") and self.retry_count >= self.max_retries
        return "failed" if spent else outcome

    def take(self, worker: str, key: str, max_retries: int | None) -> None:
        self.status, self.worker_id, self.claim_key, self.last_event = "processing", worker, key, "claimed"
        self.attempt += 1
        self.started, self.overtaken = True, []
        self.progress_percentage, self.write_seq, self.code, self.expired = 0, 0, None, False
        self.max_retries = self.max_retries if max_retries is None else max_retries

    def end(self, outcome: str, code: str, result: dict[str, Any] | None = None, *, due: bool = True) -> str:
        """End the running attempt; returns how it really ended."""
        ending = self.last_event = self.ending_of(outcome)
        self.asked[self.attempt] = outcome
        self.status = "pending" if ending in AGAIN else ending
        self.retry_count += ending in ("retry", "rescued")
        self.due, self.expired, self.claim_key = due, False, None
        self.suspect = ending == "rescued" or (ending == "released" and self.suspect)
        if ending == "completed":
            self.workflow_result, self.progress_percentage = result, 100
        elif ending == "cancelled":
            self.code = "CANCELLED"
        elif ending != "released":
            self.code = code if ending == outcome else "ATTEMPTS_EXHAUSTED"
        return ending


class Queue:
    """All jobs, by id."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self._used_keys: set[str] = set()

    def rows(self) -> list[dict[str, Any]]:
        return [self.jobs[job_id].row() for job_id in sorted(self.jobs)]

    def waiting_for_time(self) -> list[str]:
        """The jobs that a clock would change: at the end of their lease, or of their delay."""
        leased = [job.id for job in self._with_status("processing") if not job.expired]
        return leased + [job.id for job in self._with_status("pending") if not job.due]

    def pass_time(self, job_id: str) -> None:
        job = self.jobs[job_id]
        job.expired, job.due = job.status == "processing", True

    def submit(self, job_id: str, user: str | None, priority: int) -> dict[str, Any]:
        created = job_id not in self.jobs
        if created:
            self.jobs[job_id] = Job(job_id, user, priority, self._fair_rank(user), made=len(self.jobs))
        return {"job_id": job_id, "status": self.jobs[job_id].status, "created": created}

    def in_turn(self, prefer: str | None) -> list[str]:
        """What is claimable, best first. A claim looks at as many as it may take, and locks them."""
        jobs = self._claimable()
        first = {job.id for job in jobs if prefer and self._goes_first(job, prefer, jobs)}
        return [job.id for job in sorted(jobs, key=lambda job: (-job.priority, job.id not in first, job.place))]

    def claim(
        self, worker: str, key: str, how_many: int = 1, max_retries: int | None = None, job: str | None = None,
        prefer: str | None = None, free: Sequence[str] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """A claim by an unused key takes the best jobs or the named one; by a used key it takes nothing new.

        `free`: what it can lock, in turn, while another claim is under way.
        """
        if key not in self._used_keys:
            self._used_keys.add(key)
            self._rescue()
            best = [self.jobs[found] for found in (self.in_turn(prefer) if free is None else free)[:how_many]]
            named = [found for found in self._with_status("pending") if found.id == job]
            for taken in _alone_if_suspect(best) if job is None else named:
                taken.take(worker, key, max_retries)
                for other in self._claimable():
                    other.overtaken.append(taken.priority == other.priority and taken.place > other.place)
        held = [found for found in self._with_status("processing") if found.claim_key == key]
        return {"jobs": [found.row() for found in held], "more": self._claimable() != []}

    def renew(
        self, job_id: str, attempt: int, write: int, progress: int, checkpoint: dict[str, Any] | None = None
    ) -> dict[str, bool]:
        job = self._holder(job_id, attempt)
        if job is None:
            return {"held": False, "cancel_requested": False}
        job.expired = False
        if write > job.write_seq:
            job.write_seq, job.progress_percentage = write, max(job.progress_percentage, progress)
            merged = (job.checkpoint or {}) | (checkpoint or {})
            job.checkpoint = {step: done for step, done in merged.items() if done is not None} or None
        return {"held": True, "cancel_requested": job.cancel_wanted}

    def settle(self, job_id: str, attempt: int, outcome: str, code: str, result: dict[str, Any], *, due: bool) -> bool:
        """True for the holder, and for the repeat of what was settled; otherwise nothing happens."""
        job = self._holder(job_id, attempt)
        if job is None:
            return job_id in self.jobs and self.jobs[job_id].asked.get(attempt) == outcome
        job.end(outcome, code, result, due=due)
        return True

    def reconcile(self, *, dry_run: bool) -> dict[str, Any]:
        expired = [job for job in self.jobs.values() if job.expired]
        endings = {job.id: job.ending_of("rescued") for job in expired} if dry_run else self._rescue()
        counts = {name: list(endings.values()).count(name) for name in ("rescued", "failed", "cancelled")}
        pending = self._with_status("pending")
        return {
            "rescued": counts["rescued"], "exhausted": counts["failed"], "cancelled": counts["cancelled"],
            "job_ids": sorted(endings), "claimable": len(self._claimable()),
            "delayed": len(pending) - len(self._claimable()), "processing": len(self._with_status("processing")),
            "expired": len(expired) if dry_run else 0,
        }  # fmt: skip

    def cancel(self, job_id: str) -> dict[str, Any]:
        job = self.jobs.get(job_id)
        if job is None:
            return _answer(accepted=False)
        if job.status == "pending":
            job.status, job.code, job.cancel_wanted, job.last_event = "cancelled", "CANCELLED", True, "cancelled"
        elif job.status == "processing" and not job.cancel_wanted:
            job.cancel_wanted, job.last_event = True, "cancel_requested"
        return _answer(job.status, accepted=job.status in ("processing", "cancelled"))

    def retry(self, job_id: str) -> dict[str, Any]:
        job = self.jobs.get(job_id)
        if job is None:
            return _answer(accepted=False)
        if job.status not in ("failed", "cancelled"):
            return _answer(job.status, accepted=job.status == "pending" and job.last_event == "retried")
        job.fair_rank = self._fair_rank(job.user_id)
        job.status, job.last_event, job.due, job.cancel_wanted, job.overtaken = "pending", "retried", True, False, []
        job.retry_count, job.progress_percentage, job.code, job.suspect, job.started = 0, 0, None, False, False
        return _answer(job.status, accepted=True)

    def _holder(self, job_id: str, attempt: int) -> Job | None:
        job = self.jobs.get(job_id)
        return job if job and (job.status, job.attempt) == ("processing", attempt) else None

    def _goes_first(self, job: Job, prefer: str, jobs: list[Job]) -> bool:
        """Its next step is the preferred one, and all that it would overtake may still be overtaken."""
        peers = [other for other in jobs if other.priority == job.priority and other.place <= job.place]
        wanted = [other for other in peers if other.next_step == prefer and not other.suspect]
        behind = {other.id: [each for each in wanted if each.place > other.place] for other in peers}
        others = [other for other in peers if other not in wanted]
        return job in wanted and all(len(behind[other.id]) <= other.patience for other in others)

    def _rescue(self) -> dict[str, str]:
        return {job.id: job.end("rescued", "LEASE_LOST") for job in self.jobs.values() if job.expired}

    def _claimable(self) -> list[Job]:
        return [job for job in self._with_status("pending") if job.due]

    def _with_status(self, status: str) -> list[Job]:
        """Best first."""
        found = [job for job in self.jobs.values() if job.status == status]
        return sorted(found, key=lambda job: (-job.priority, job.place))

    def _fair_rank(self, user: str | None) -> int:
        """Not before everybody's first, and behind this user's own last."""
        pending = self._with_status("pending")
        first = min((job.fair_rank for job in pending), default=0)
        return max([first, *(job.fair_rank + 1 for job in pending if job.user_id == user)])


def _alone_if_suspect(jobs: list[Job]) -> list[Job]:
    """A suspect is taken alone: as the first and only one, or not now."""
    if jobs and jobs[0].suspect:
        return jobs[:1]
    return list(takewhile(lambda job: not job.suspect, jobs))


def _answer(status: str | None = None, *, accepted: bool) -> dict[str, Any]:
    return {"found": status is not None, "accepted": accepted, "status": status}
