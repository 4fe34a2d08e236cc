"""The seam for figures: what the engine tells about single calls and jobs. Told by the steps and the runner.

Counts that some part keeps anyway (loads, cures, turns, sessions) need no seam: they are read from the part.
"""

from __future__ import annotations

from consumer.errors import JobError
from consumer.job import JsonObject


class Observer:
    """Drops what it is told. `consumer.prometheus` has the one that keeps it."""

    def called(self, model: str, step: str, figures: JsonObject) -> None:
        """A model call has ended well; `figures` as in the row's `observability` (milliseconds)."""

    def call_failed(self, model: str, step: str, error: JobError) -> None:
        """A model call has failed, or its answer is unusable."""

    def settled(self, outcome: str, code: str) -> None:
        """An attempt's outcome was written: the outcome's name or `refused`, and the error code or an empty text."""
