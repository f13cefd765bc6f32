"""What the store tells of measurements, and whether it can keep them, for commands that do without where it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from registry.errors import StoreError

if TYPE_CHECKING:
    from registry.planning.measurement import Measurement

SAID: Final = "registry.cli.recalling"  # in a command's own memory: what it has said of the store


def recalled_measurements() -> tuple[Measurement, ...]:
    """Every latest measurement; none, with a line on stderr, where the store cannot be read."""
    from registry.store.measured import read_measurements

    try:
        return read_measurements()
    except StoreError as error:
        _say_once(f"{error} What was measured and tuned is not used.")
        return ()


def can_be_kept() -> bool:
    """Whether the store can be written. Where it cannot, a line on stderr says so: before long work, not after it."""
    from registry.store.remembering import try_store

    error = try_store()
    if error is not None:
        _say_once(
            f"{error} What is measured now is told, but not kept: to keep it, mend that before you go on."
        )
    return error is None


def _say_once(line: str) -> None:
    """On stderr, once a command: it may ask the store several times."""
    context = click.get_current_context(silent=True)
    said: set[str] = set() if context is None else context.meta.setdefault(SAID, set())
    if line not in said:
        said.add(line)
        click.echo(f"specreg: {line}", err=True)
