"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]


def as_json(command: Command) -> Command:
    """`--json`: one JSON document on stdout, nothing else."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def with_catalog(command: Command) -> Command:
    """`--catalog FILE`, repeatable: over the built-in catalog and those of SPECREG_CATALOG."""
    return click.option(
        "--catalog",
        "catalog",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="A catalog to lay over the built-in one; may be given several times.",
    )(command)


def with_timeout(command: Command) -> Command:
    """`--timeout SECONDS`: how long the Hub may say nothing."""
    return click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0, min_open=True),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="Give up after so long without a byte.",
    )(command)


def with_narrowing(command: Command) -> Command:
    """`--length`, `--via` and `--run`: which of several chains."""
    for option in (
        click.option("--run", metavar="NAME", help="That run, wherever an edge has it."),
        click.option(
            "--via", multiple=True, metavar="MODEL", help="A model the chain must pass; may be repeated."
        ),
        click.option("--length", type=click.IntRange(min=1), metavar="N", help="Exactly N models."),
    ):
        command = option(command)
    return command
