"""Pulls models onto the model server, one at a time, again when one breaks off, and shows how far they are.

Called by `preflight`, before the worker starts. To cancel it is to break off; the server keeps what it has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from itertools import islice

from loguru import logger

from consumer import systemd
from consumer.errors import ModelUnavailable
from consumer.ollama import Ollama
from consumer.ollama_pull import VERIFYING, PullProgress
from consumer.retry import full_jitter

Show = Callable[[PullProgress], None]
# Waits after a pull has broken off; they begin anew when the one before it has brought more bytes than any other.
RETRIES, FIRST_WAIT, LONGEST_WAIT = 4, 1.0, 30.0
# A line in the log after so many percent or seconds.
STEP_PERCENT, STEP_SECONDS = 10, 10.0
# How long systemd is to wait for the next sign of life: verifying is silent for up to ten minutes (ollama_pull).
PATIENCE_SECONDS = 720


async def pull_all(ollama: Ollama, models: Sequence[str], *, bars: bool) -> None:
    """Pull these models; `bars`: a progress bar on the terminal instead of lines in the log.

    Raises:
        ModelNotFound: there is no such model.
        JobError: it broke off again and again, or the server cannot.
    """
    for model in models:
        with (_bar if bars else _lines)(model) as show:
            await _pull(ollama, model, show)


async def _pull(ollama: Ollama, model: str, show: Show) -> None:
    most, waits = 0, _waits()
    while True:
        before = most
        try:
            async with aclosing(ollama.pull(model)) as pull:
                async for progress in pull:
                    most = max(most, progress.completed)
                    show(progress)
            return
        except ModelUnavailable as error:
            waits = _waits() if most > before > 0 else waits
            wait = next(waits, None)
            if wait is None:
                raise
            logger.warning("{}; next try in {:.0f} s", error, wait)
            await asyncio.sleep(wait)


def _waits() -> Iterator[float]:
    return islice(full_jitter(base=FIRST_WAIT, cap=LONGEST_WAIT), RETRIES)


@contextmanager
def _lines(model: str) -> Iterator[Show]:
    log = _Log(model)
    yield log.show


class _Log:
    """A line now and then, and a sign of life to systemd with it: a pull outlasts the time that a start may take."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._begun = self._at = time.monotonic()
        self._last = PullProgress("", 0, 0)
        self._say("not on the model server, so it is fetched")

    def show(self, progress: PullProgress) -> None:
        """Write it down, unless little has changed since the last line."""
        now = time.monotonic()
        if progress.status == "success":
            self._say(f"done, {_size(progress.completed)} in {now - self._begun:.0f} s")
        elif _percent(progress) >= _percent(self._last) + STEP_PERCENT or now - self._at >= STEP_SECONDS:
            speed = (progress.completed - self._last.completed) / max(now - self._at, 1e-3)
            self._say(f"{_percent(progress)} % of {_size(progress.total)}, {_size(max(speed, 0))}/s")
            self._last, self._at = progress, now
        elif progress.status == VERIFYING:
            self._say("verifying")

    def _say(self, words: str) -> None:
        logger.info("pulling {!r}: {}", self._model, words)
        systemd.notify(systemd.extension(PATIENCE_SECONDS), systemd.status(f"pulling {self._model}: {words}"))


@contextmanager
def _bar(model: str) -> Iterator[Show]:
    from rich.console import Console  # only on a terminal
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"pulling {model}", total=None)

        def show(progress: PullProgress) -> None:
            words = f"pulling {model}" if progress.status.startswith("pulling") else f"{model}: {progress.status}"
            bar.update(task, description=words, completed=progress.completed, total=progress.total or None)

        yield show


def _percent(progress: PullProgress) -> int:
    return 100 * progress.completed // progress.total if progress.total else 0


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
