"""The seam for figures and traces: what the engine tells about attempts, as values. Told by runner, steps and lease.

Counts that some part keeps anyway (loads, cures, turns, sessions) need no seam: they are read from the part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from loguru import logger

from consumer.errors import JobError
from consumer.job import Job, JsonObject, Phase


@dataclass(frozen=True, slots=True)
class Begun:
    """An attempt begins; `claimed` says how its job was heard (see the dispatcher)."""

    claimed: JsonObject


@dataclass(frozen=True, slots=True)
class Entered:
    """A phase begins, and with it the one before ends."""

    phase: Phase


@dataclass(frozen=True, slots=True)
class Asked:
    """A model call has got its turn and begins, with its load."""

    model: str
    step: str
    max_tokens: int
    temperature: float
    seed: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A model call has ended well; `figures` as in the row's `observability` (milliseconds).

    `finish_reason` is the model server's word for why it ended; an empty text where it has none.
    """

    model: str
    step: str
    figures: JsonObject
    finish_reason: str


@dataclass(frozen=True, slots=True)
class CallFailed:
    """A model call has failed, or its answer is unusable."""

    model: str
    step: str
    error: JobError


@dataclass(frozen=True, slots=True)
class Violated:
    """The workflow breaks rules that code cannot mend: the code of each violation."""

    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Repaired:
    """What code has mended, or a model is asked to mend: the code of each violation."""

    by: Literal["code", "model"]
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Renewed:
    """The lease was renewed."""


@dataclass(frozen=True, slots=True)
class Settling:
    """The outcome is known; writing it begins."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The outcome was written: its name, or `refused` by the fence; and the error code or an empty text."""

    outcome: str
    code: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The attempt is over, settled or not; `lost`: another attempt has the job."""

    lost: bool = False


Event = Begun | Entered | Asked | Answered | CallFailed | Violated | Repaired | Renewed | Settling | Settled | Ended


class Observer:
    """Drops what it is told. `consumer.prometheus` and `consumer.traces` have those that keep it.

    A row that cannot be read is settled without having begun. Must never raise, nor wait.
    """

    def see(self, job: Job, event: Event) -> None:
        """Something has happened to this attempt."""

    def words(self, job: Job) -> Mapping[str, str]:
        """What every log line of this attempt, which has begun, is to carry."""
        return {}


class Observers(Observer):
    """Tells several. A defect of one is logged and costs no job."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def see(self, job: Job, event: Event) -> None:
        """Tell each of them."""
        for observer in self._observers:
            with _spared(observer, type(event).__name__):
                observer.see(job, event)

    def words(self, job: Job) -> Mapping[str, str]:
        """What all of them say."""
        said: dict[str, str] = {}
        for observer in self._observers:
            with _spared(observer, "the words of its log lines"):
                said |= observer.words(job)
        return said


@contextmanager
def _spared(observer: Observer, over: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        logger.exception("a defect of {} over {}", type(observer).__name__, over)
