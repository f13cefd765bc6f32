"""How facts reach the reader: tables on a terminal, plain lines in a pipe, JSON on request."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click


def print_json(document: object) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> None:
    """A table on a terminal; in a pipe one line per row, cells apart by tabs, the column names first."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in [list(columns), *cells]:
            click.echo("\t".join(row))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*(Text.from_ansi(cell) for cell in row))
    Console().print(table)


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
