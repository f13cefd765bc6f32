"""Word of steps that take long, also where no bar is drawn: torch.compile makes kernels before the first token."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import click

from registry.cli.bars import counted

SILENT_S: Final = 30.0  # so long nothing is said


@contextmanager
def compiled(total: int, what: str) -> Iterator[Callable[[str], None]]:
    """As `counted`, with lines on stderr: at the beginning, now and then between, and at the end."""
    began = told_at = time.monotonic()
    done = 0
    _say(
        f"{what}: torch compiles what is fused first, some ten seconds for each model where that was not done before."
    )
    with counted(total, what) as step:

        def told(name: str) -> None:
            nonlocal done, told_at
            done += 1
            step(name)
            if time.monotonic() - told_at >= SILENT_S and done < total:
                told_at = time.monotonic()
                _say(f"{what}: {done} of {total} after {told_at - began:.0f} s.")

        yield told
    _say(f"{what}: done after {time.monotonic() - began:.0f} s.")


def say_refusals(refusals: Mapping[str, str]) -> None:
    """A line for each model that is not recorded as was asked."""
    for name, why in refusals.items():
        _say(f"{name} runs otherwise than was asked: {why}")


def _say(line: str) -> None:
    click.echo(f"specreg: {line}", err=True)
