"""What a chain is going to take of memory, said on a terminal before it is taken."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from heads.memory import Memory


def say_memory(models: Sequence[str], memory: Memory | None) -> None:
    """One line; where that cannot be told, that the models are being loaded."""
    if sys.stderr.isatty():
        line = f"{' -> '.join(models)}: verifying and loading" if memory is None else str(memory)
        click.echo(line, err=True)
