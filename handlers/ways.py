"""Which earlier steps a step may follow: what the words settle is settled, the rest is the model's choice."""

from __future__ import annotations

from collections.abc import Sequence

from handlers.plan import Plan
from handlers.shape import exits


class Ways:
    """Walks along the steps in order and keeps what may be followed."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._open = ["trigger"]
        self._condition: str | None = None
        self._in_other = False

    def into(self, types: Sequence[str]) -> list[str]:
        """What a step that may have one of `types` may follow: one after the other, unless the words say otherwise."""
        condition = self._condition
        if condition is None or len(types) != 1:
            return self._open
        if types[0] in self._plan.otherwise and not self._in_other:
            self._in_other = True
            return [f"{condition}.false"]
        # "If … do this and that, otherwise …": this follows the true way, and that follows this.
        return self._open[:1] if self._plan.otherwise else self._open

    def passed(self, key: str, types: Sequence[str]) -> None:
        """A step called `key` with one of `types` stands here now."""
        # Steps side by side stay open when the words speak of them; the ways of a branch always do.
        left = [way for way in self._open if self._plan.parallel or "." in way]
        self._open = [*exits(key, types), *left]
        if tuple(types) == ("if_else",):
            self._condition, self._in_other = key, False
