"""Commands that are recommended to the user, as a shell takes them: they run as they are printed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

Catalogs: TypeAlias = Sequence[str | Path]
"""The files that were laid over the built-in catalog: whatever is recommended needs them too."""


def command(*words: str, catalogs: Catalogs = ()) -> str:
    """One of specreg's commands with all that it needs, quoted.

    >>> command("measure", "a", "b", catalogs=["my models.yaml"])
    "specreg measure a b --catalog 'my models.yaml'"
    """
    laid = [part for file in dict.fromkeys(map(str, catalogs)) for part in ("--catalog", file)]
    return shlex.join(["specreg", *words, *laid])


def chosen(models: Sequence[str], run: str | None = None) -> list[str]:
    """Source, target and the options that name exactly this chain.

    >>> chosen(["a", "b", "c"], run="mine")
    ['a', 'c', '--length', '3', '--via', 'b', '--run', 'mine']
    """
    between = [part for model in models[1:-1] for part in ("--via", model)]
    of_run = [] if run is None else ["--run", run]
    return [models[0], models[-1], "--length", str(len(models)), *between, *of_run]


def loading_words(**options: str | None) -> list[str]:
    """Options of loading that were given, as words of a command line.

    >>> loading_words(device="cpu", dtype=None, engine="captured")
    ['--device', 'cpu', '--engine', 'captured']
    """
    given = {f"--{name}": value for name, value in options.items()}
    return [word for name, value in given.items() if value is not None for word in (name, value)]
