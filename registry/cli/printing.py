"""How facts reach the reader: tables on a terminal that has the room, plain lines in a pipe, JSON on request."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

FOLDED: Final = 16  # characters: longer words, as digests and paths, may be folded
BETWEEN: Final = 3  # characters from one column to the next


def print_json(document: object) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> None:
    """A table on a terminal; in a pipe one line per row, cells apart by tabs, the column names first.

    Where a terminal is so narrow that names and numbers would be broken, a row is told in lines.
    """
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in [list(columns), *cells]:
            click.echo("\t".join(row))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if _narrowest(columns, cells) > console.width:
        if title:
            click.echo(title)
        for row in cells:
            _print_row(columns, row, console.width)
        return
    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for place, column in enumerate(columns):
        names = place == 0 and all(len(click.unstyle(row[0]).split()) < 2 for row in cells)
        table.add_column(column, overflow="fold", no_wrap=names)
    for row in cells:
        table.add_row(*(Text.from_ansi(cell) for cell in row))
    console.print(table)


def _narrowest(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    """How wide a table must be to break no word that is not long, and no name: those stand in the first column."""
    longest = [
        max((len(word) for cell in column for word in click.unstyle(cell).split()), default=0)
        for column in zip(columns, *cells, strict=True)
    ]
    return sum(longest[:1]) + sum(min(width, FOLDED) for width in longest[1:]) + BETWEEN * (len(columns) - 1)


def _print_row(columns: Sequence[str], row: Sequence[str], width: int) -> None:
    """The first cell, and below it the others by their columns' names, as far as they say something."""
    click.echo(row[0])
    told = [
        f"{name} {cell}" for name, cell in zip(columns[1:], row[1:], strict=True) if cell not in {"", "-"}
    ]
    line = ""
    for one in told:
        longer = f"{line}, {one}" if line else f"  {one}"
        if line and len(click.unstyle(longer)) >= width:
            click.echo(f"{line},")
            longer = f"  {one}"
        line = longer
    if line:
        click.echo(line)


def print_facts(facts: Sequence[tuple[str, Any]]) -> None:
    """Name and value, one pair a line, values aligned; what is not known is left out."""
    known = [(name, value) for name, value in facts if value is not None and value != ""]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        click.echo(f"{name:<{width}}  {value}" if sys.stdout.isatty() else f"{name}\t{value}")


def shown_status(status: str) -> str:
    """A status in its colour; click drops the colour where stdout is no terminal or NO_COLOR is set."""
    colours = {"pass": "green", "ok": "green", "fail": "red", "unknown": "yellow", "unrecorded": "yellow"}
    return styled(status, colours.get(status, "red"))


def styled(text: str, colour: str) -> str:
    """Text in a colour on a terminal that wants colours."""
    return click.style(text, fg=colour) if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text
