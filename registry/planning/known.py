"""What is known of this machine: the setup that a plan is for, and the measurements of it."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from registry.planning.fingerprint import fingerprint
from registry.planning.measured import Measured
from registry.planning.measurement import Measurement
from registry.planning.setup import Setup
from registry.shelf import Shelf


def known_here(
    shelf: Shelf,
    measurements: Sequence[Measurement],
    *,
    subjects: Sequence[str] = (),
    device: str | None = None,
    dtype: str | None = None,
    engine: str | None = None,
) -> Measured:
    """The measurements of one setup of this machine.

    Of several setups it is the one in which most of the subjects were measured, and of those the latest.

    Args:
        shelf: Tells what checkpoints are now.
        measurements: Of any setups; the latest of each kind and subject.
        subjects: Models that the plan is about.
        device, dtype, engine: What the setup must have; any when None. Of a device the number does not count.
    """
    kind = None if device is None else device.partition(":")[0]
    here = [
        one
        for one in measurements
        if one.setup.host == platform.node()
        and kind in {None, one.setup.device}
        and dtype in {None, one.setup.dtype}
        and engine in {None, one.setup.engine}
    ]

    def rank(setup: Setup) -> tuple[int, float]:
        mine = [one for one in here if one.setup.key == setup.key]
        covered = {one.subject for one in mine if one.kind == "forwards"} & set(subjects)
        return len(covered), max(one.measured_at.timestamp() for one in mine)

    setups = {one.setup.key: one.setup for one in here}
    chosen = max(setups.values(), key=rank, default=None)
    return Measured(chosen, here, lambda models, heads: fingerprint(shelf, models, heads))


def known_of(shelf: Shelf, setup: Setup, measurements: Sequence[Measurement]) -> Measured:
    """The measurements of exactly that setup."""
    return Measured(setup, measurements, lambda models, heads: fingerprint(shelf, models, heads))
