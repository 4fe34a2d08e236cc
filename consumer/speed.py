"""How fast each model writes: the usual speed, and an alarm when it falls far below. Pure; used by the steps.

A GPU that is lost (suspend, a container's cgroup) leaves a server that works on the CPU and says nothing of it: only
the speed tells (facts/ollama.md §3: it falls 5 to 20 times).
"""

from __future__ import annotations

from dataclasses import dataclass

from consumer.job import JsonObject

# Calls with fewer tokens say nothing about speed.
LEAST_TOKENS = 16
# Weight of the newest call in the usual speed.
WEIGHT = 0.2
# Slow: below a third of the usual in two calls running. Good again: two thirds.
SLOW, GOOD, CALLS = 1 / 3, 2 / 3, 2


@dataclass(slots=True)
class Speed:
    """Tokens per second of one model: of the last call, and usual (an average in which older calls fade)."""

    usual: float | None = None
    last: float | None = None
    slow: bool = False
    loads: int = 0
    _slow_calls: int = 0

    def saw(self, tokens: int, per_second: float | None) -> bool:
        """Take one call; True when `slow` has changed."""
        if per_second is None or tokens < LEAST_TOKENS:
            return False
        self.last, before = per_second, self.slow
        usual = self.usual if self.usual is not None else per_second
        self._slow_calls = self._slow_calls + 1 if per_second < usual * (GOOD if self.slow else SLOW) else 0
        self.slow = self._slow_calls >= CALLS or (self.slow and self._slow_calls > 0)
        if not self._slow_calls:  # a slow call must not teach that slow is usual
            self.usual = usual + WEIGHT * (per_second - usual)
        return self.slow is not before

    def alarm(self, model: str) -> str | None:
        """What to say of this model's speed while it is slow."""
        if not self.slow:
            return None
        speeds = f"{self.last:.1f} tokens/s, usual are {self.usual:.1f}"
        return f"{model!r} writes {speeds}: has the server lost its GPU? Look at `ollama ps`"

    def as_json(self) -> JsonObject:
        """As the worker's row shows it."""
        return {
            "tokens_per_second": _rounded(self.last),
            "usual_tokens_per_second": _rounded(self.usual),
            "slow": self.slow,
            "loads": self.loads,
        }


class Speeds:
    """The speed of every model."""

    def __init__(self) -> None:
        self._by_model: dict[str, Speed] = {}

    def __getitem__(self, model: str) -> Speed:
        return self._by_model.setdefault(model, Speed())


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
