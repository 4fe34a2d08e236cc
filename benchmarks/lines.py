"""The line that each bar prints, and whether any of them is short."""

from __future__ import annotations

from typing import Protocol


class Line(Protocol):
    """`Bars.line`, as the measuring functions are given it."""

    def __call__(self, name: str, figure: float, unit: str, bar: float, *, at_least: bool = False) -> None: ...


class Bars:
    """Prints the lines and remembers whether one is short."""

    def __init__(self) -> None:
        self.short = 0

    def line(self, name: str, figure: float, unit: str, bar: float, *, at_least: bool = False) -> None:
        """One bar: good when the figure is at most (or, with `at_least`, at least) the bar."""
        good = figure >= bar if at_least else figure <= bar
        self.short += not good
        sign = ">=" if at_least else "<="
        print(f"bar {name}: {figure:.2f} {unit} ({sign} {bar:g} {unit}) {'ok' if good else 'short'}", flush=True)
