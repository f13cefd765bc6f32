"""What the store tells of measurements, for commands that do without where it tells nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from registry.errors import StoreError

if TYPE_CHECKING:
    from registry.planning.measurement import Measurement


def recalled_measurements() -> tuple[Measurement, ...]:
    """Every latest measurement; none, with a line on stderr, where the store cannot be read."""
    from registry.store.measured import read_measurements

    try:
        return read_measurements()
    except StoreError as error:
        click.echo(f"specreg: {error} What was measured and tuned is not used.", err=True)
        return ()
