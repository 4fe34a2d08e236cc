"""Which model is used when, and by which job: the scheduler of this worker's model server (design rule 11).

Called by the steps around every model call; asked by the dispatcher how many jobs to take, and which. Owns no I/O.
Two models at once on a server with room for one evict each other, or hang its scheduler until the loaded model is
unloaded (traces/ollama.md fact 5), so the queue is kept here, not there, and a change of model is put off while jobs
wait for the loaded one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

from consumer.errors import ModelUnavailable
from consumer.loaded import LoadedModel
from consumer.ollama_wire import canonical

StepName = Literal["analyze", "generate"]


@dataclass(frozen=True, slots=True)
class Batching:
    """How long the loaded model may keep the lane while a call for another model waits.

    `size`: for so many calls in a row; also the most jobs a worker holds for a batch. `wait`: until the other has
    waited so many seconds.
    """

    size: int = 4
    wait: float = 120.0


@dataclass(eq=False, slots=True)
class _Caller:
    model: str
    since: float
    turn: asyncio.Future[None]


class Lanes:
    """The turns at the model server: one call per model, and one model at a time unless both are known to fit.

    `models` maps a kind of step to its model; `concurrency` is how many jobs the worker works on at once, not counting
    those that it takes ahead for a batch. `on_change` is called when `room` or `ahead` may have changed. `turns` counts
    the calls that came to their turn, by model; `changes`, how often the next turn was another model's, while only one
    fits.
    """

    def __init__(self, models: Mapping[StepName, str], concurrency: int = 1, batching: Batching | None = None) -> None:
        self._models = models
        self._concurrency = concurrency
        self._batching = batching or Batching()
        self._callers: list[_Caller] = []
        self._in_use: set[str] = set()
        self._left = asyncio.Event()
        self._left.set()
        self._in_a_row = 0
        self._paused = False
        self._barred: str | None = None
        # Held while a model may be loaded: one load at a time.
        self.loading = asyncio.Lock()
        self.on_change: Callable[[], None] = lambda: None
        self.model: str | None = None
        self.both_fit = False
        self.turns: Counter[str] = Counter()
        self.changes = 0

    def owns(self, name: str) -> bool:
        """Whether a model, by canonical name, is one of this worker's."""
        return name in map(canonical, self._models.values())

    @property
    def in_use(self) -> frozenset[str]:
        """The models with a call under way."""
        return frozenset(self._in_use)

    @property
    def preferred_step(self) -> StepName | None:
        """The step that the loaded model does; None when it does not matter."""
        if self._one_model or self.both_fit:
            return None
        return next((step for step, model in self._models.items() if model == self.model), None)

    @asynccontextmanager
    async def use(self, model: str) -> AsyncIterator[float]:
        """Hold the lane for a call of `model`. Gives the milliseconds waited for it, to be added to `queue_time_ms`.

        Raises:
            ModelUnavailable: the model server has been given up (see `bar`).
        """
        asked = perf_counter()
        await self._enter(model)
        try:
            yield (perf_counter() - asked) * 1000
        finally:
            self._leave(model)

    def observe(self, loaded: Iterable[LoadedModel]) -> None:
        """What the server holds after a load; both models side by side, whole, on the same hardware, do fit."""
        found = {entry.name: entry for entry in loaded if not entry.stopping}
        both = [found.get(canonical(model)) for model in set(self._models.values())]
        entries = [entry for entry in both if entry is not None]
        whole = all(entry.on_gpu for entry in entries) or all(entry.on_cpu for entry in entries)
        self.both_fit = len(entries) == len(both) and whole
        self._grant()

    def pause(self) -> None:
        """Give no more turns until `resume` or `bar`."""
        self._paused = True
        self.on_change()

    def resume(self) -> None:
        """Give turns again."""
        self._paused, self._barred = False, None
        self._grant()
        self.on_change()

    def bar(self, why: str) -> None:
        """Refuse everybody until `resume`: those who wait and those who come."""
        self._barred = why
        self._paused = True
        for caller in self._waiting():
            caller.turn.set_exception(ModelUnavailable(why))
        self._callers.clear()
        self.on_change()

    async def quiet(self) -> None:
        """Until no call is under way."""
        await self._left.wait()

    def room(self, running: int) -> int:
        """How many jobs more the worker can work on, when it has `running`: none while the server is a suspect."""
        return 0 if self._paused else max(0, self._concurrency - running)

    def ahead(self, running: int) -> bool:
        """Whether one job more than that should be taken from a backlog, to be analysed before the model changes.

        Or beside the other model, where both fit. Never while a job is generated alone: it would only wait.
        """
        if self._paused or not self._in_use or running >= self._most:
            return False
        first, waiting = self._models["analyze"], self._waiting()
        useful = first not in self._in_use if self.both_fit else first in self._in_use
        if not useful or any(caller.model == first for caller in waiting):
            return False
        if running > len(self._in_use) + len(waiting):
            return False  # one of them is about to ask for its turn, or to end
        return not any(self._overdue(caller) for caller in waiting)

    @property
    def _one_model(self) -> bool:
        return len(set(self._models.values())) == 1

    @property
    def _most(self) -> int:
        """Jobs held at most: a batch, or one that is analysed while another is generated."""
        if self._one_model:
            return self._concurrency
        return self._concurrency + 1 if self.both_fit else self._batching.size

    @property
    def waiting(self) -> list[str]:
        """The models that are waited for, by who has waited longest."""
        return [caller.model for caller in self._waiting()]

    def _waiting(self) -> list[_Caller]:
        """Those who wait, oldest first; not those whose cancellation has yet to reach them."""
        return [caller for caller in self._callers if not caller.turn.done()]

    async def _enter(self, model: str) -> None:
        if self._barred is not None:
            raise ModelUnavailable(self._barred)
        caller = _Caller(model, _now(), asyncio.get_running_loop().create_future())
        self._callers.append(caller)
        self._grant()
        if not caller.turn.done():
            self.on_change()
        try:
            await caller.turn
        except asyncio.CancelledError:
            if caller in self._callers:
                self._callers.remove(caller)
            elif caller.turn.done() and not caller.turn.cancelled() and caller.turn.exception() is None:
                self._leave(model)
            raise

    def _leave(self, model: str) -> None:
        self._in_use.discard(model)
        if not self._in_use:
            self._left.set()
        self._grant()

    def _grant(self) -> None:
        while not self._paused and (caller := self._next()) is not None:
            self._callers.remove(caller)
            self._in_use.add(caller.model)
            self._left.clear()
            others_wait = any(other.model != caller.model for other in self._waiting())
            self._in_a_row = (self._in_a_row if caller.model == self.model else 0) + others_wait
            self.turns[caller.model] += 1
            self.changes += self.model not in (None, caller.model) and not self.both_fit
            self.model = caller.model
            caller.turn.set_result(None)
            self.on_change()

    def _next(self) -> _Caller | None:
        """Whose turn it is; nobody's while the lane is in use."""
        waiting = self._waiting()
        if self.both_fit:
            return next((caller for caller in waiting if caller.model not in self._in_use), None)
        if self._in_use:
            return None
        same = next((caller for caller in waiting if caller.model == self.model), None)
        other = next((caller for caller in waiting if caller.model != self.model), None)
        if same is None or other is None:
            return same or other
        return other if self._in_a_row >= self._batching.size or self._overdue(other) else same

    def _overdue(self, caller: _Caller) -> bool:
        return _now() - caller.since >= self._batching.wait


def _now() -> float:
    return asyncio.get_running_loop().time()
