"""Jobs in work as people watch them: a bar for each on a terminal, else a line per change.

Called by watch, submit --wait and the demo.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from consumer.replies import JobState
from schemas.clean import one_line


class ProgressView:
    """Shows each new state of one job, or of many with their ids, and the labels of the nodes as they come."""

    def __init__(self, console: Console | None = None, *, many: bool = False) -> None:
        self._console = console or Console(highlight=False)
        self._many = many
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(40),
            TextColumn("{task.percentage:>3.0f} %"),
            console=self._console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._nodes: dict[str, int] = {}
        self._attempts: dict[str, int] = {}
        self._lines: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def show(self, state: JobState) -> None:
        """Show one state."""
        self._show_attempt(state)
        step = self._draw if self._console.is_terminal else self._write
        if not state.ended:
            step(state)
            self._show_nodes(state)
            return
        self._show_nodes(state)
        step(state)
        self._end(state)

    def _show_attempt(self, state: JobState) -> None:
        before = self._attempts.get(state.id)
        self._attempts[state.id] = state.attempt
        if before and state.attempt > before:
            self._nodes[state.id] = 0
            self._say(state, f"attempt {state.attempt}")

    def _draw(self, state: JobState) -> None:
        if state.id not in self._tasks:
            if self._many and state.status != "processing":
                return
            self._tasks[state.id] = self._bars.add_task("", total=100)
        words = f"{self._name(state)}{_step(state):22}"
        self._bars.update(self._tasks[state.id], completed=state.progress_percentage or 0, description=words)

    def _write(self, state: JobState) -> None:
        line = f"{state.progress_percentage or 0:3} %  {_step(state)}"
        if line != self._lines.get(state.id):
            self._lines[state.id] = line
            self._say(state, line)

    def _show_nodes(self, state: JobState) -> None:
        labels = state.preview_nodes or []
        shown = self._nodes.get(state.id, 0)
        for number, label in enumerate(labels[shown:], shown + 1):
            self._say(state, f"       node {number}: {one_line(str(label))}")
        self._nodes[state.id] = max(shown, len(labels))

    def _end(self, state: JobState) -> None:
        if state.error_start or state.error_code:
            self._say(state, f"       {state.error_code or state.status}: {one_line(state.error_start or '', 200)}")
        if not self._many:
            return
        if state.id in self._tasks:
            self._bars.remove_task(self._tasks.pop(state.id))
            self._say(state, state.status)
        for known in (self._nodes, self._attempts, self._lines):
            known.pop(state.id, None)

    def _say(self, state: JobState, words: str) -> None:
        """One line; on a terminal above the bars."""
        self._console.print(Text(f"{self._name(state)}{words}"), soft_wrap=True)

    def _name(self, state: JobState) -> str:
        return f"{one_line(state.id)}  " if self._many else ""


def _step(state: JobState) -> str:
    return (state.current_phase if state.status == "processing" else None) or state.status
