"""A plan for people: one row a chain, or a few lines where the terminal is too narrow for rows."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from registry.cli.printing import print_table

if TYPE_CHECKING:
    from registry.planning.planned import Plan, PlannedChain

COLUMNS = ("chain", "tokens/s", "x alone", "lengths", "memory", "acceptance", "basis")
BETWEEN = 3  # characters from one column to the next, at most


def print_plan(found: Plan) -> None:
    """The chains, best first."""
    rows = [_row(one) for one in found.chains]
    if sys.stdout.isatty() and _width(rows) > _terminal_width():
        for one, row in zip(found.chains, rows, strict=True):
            _print_lines(one, row)
    else:
        print_table(COLUMNS, rows)


def digits(number: float) -> str:
    """Three digits that count: a guess knows no more.

    >>> digits(9525.2), digits(55.13), digits(0.1234)
    ('9530', '55.1', '0.123')
    """
    places = 2 - math.floor(math.log10(number)) if number > 0 else 0
    return f"{round(number, places):.{max(0, places)}f}"


def told_lengths(one: PlannedChain) -> str:
    """How long to draft: as tuned, with what is planned beside it where that is something else.

    The speed that is told is that of the planned ones.
    """
    planned = str(one.estimate.lengths)
    if one.tuned is None:
        return planned
    return f"{one.tuned} (tuned" + ("" if one.tuned == one.estimate.lengths else f"; planned {planned}") + ")"


def _row(one: PlannedChain) -> list[str]:
    estimate = one.estimate
    size = one.memory_bytes
    speed = one.tokens_per_second
    return [
        one.name,
        f"{speed:.1f}" if estimate.measured and speed >= 1 else digits(speed),
        f"{one.speedup:.2f}",
        told_lengths(one) or "-",
        "-" if size is None else _readable(size),
        " ".join(f"{share:.2f}" for share, _ in estimate.acceptance.values()) or "-",
        _basis(one),
    ]


def _print_lines(one: PlannedChain, row: Sequence[str]) -> None:
    """The same below one another."""
    chain, speed, over, lengths, memory, acceptance, basis = row
    click.echo(chain)
    click.echo(f"  {speed} tokens/s, {over} x alone, {memory}")
    if one.estimate.heads:
        click.echo(f"  lengths {lengths}")
        click.echo(f"  acceptance {acceptance}")
    click.echo(f"  {basis}")


def _width(rows: Sequence[Sequence[str]]) -> int:
    """Of the table that they would be, in characters."""
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    return sum(widths) + BETWEEN * (len(COLUMNS) - 1)


def _terminal_width() -> int:
    from rich.console import Console

    return Console().width


def _readable(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


def _basis(one: PlannedChain) -> str:
    """What is measured and what assumed, in few words."""
    estimate = one.estimate
    times = set(estimate.forwards.values())
    shares = {basis for _, basis in estimate.acceptance.values()}
    if times | shares == {"measured"}:
        return "measured" if not estimate.unheard else "measured, with another run's head"
    told = [f"times {' and '.join(sorted(times))}"]
    return ", ".join(told + ([f"acceptance {' and '.join(sorted(shares))}"] if shares else []))
