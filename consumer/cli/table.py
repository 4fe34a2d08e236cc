"""A list as a table: drawn on a terminal, else plain aligned text for a pipe. NO_COLOR is honoured by rich."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = Sequence[str]


def print_table(columns: Row, rows: Sequence[Row], styles: Sequence[str] = ()) -> None:
    """Print the rows; `styles`, one for each row, colour its second column on a terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        for line in aligned([columns, *rows]):
            click.echo(line)
        return
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for number, row in enumerate(rows):
        style = styles[number] if styles else ""
        table.add_row(*(Text(cell, style=style if place == 1 else "") for place, cell in enumerate(row)))
    console.print(table)


def aligned(rows: Sequence[Row]) -> list[str]:
    """The rows as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
