"""What is known of this machine: the setup that a plan is for, and the measurements of it."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from registry.planning.fingerprint import fingerprint
from registry.planning.measured import Measured
from registry.planning.measurement import Measurement
from registry.planning.setup import Setup
from registry.shelf import Shelf

Wanted: TypeAlias = Mapping[str, str | int | None]
"""Fields of a setup, and what they should be."""


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

    Of several setups it is the one in which most of the subjects were measured, and of those the latest. Another one of
    the same device, the likest, lends it times where it has none of its own.

    Args:
        shelf: Tells what checkpoints are now.
        measurements: Of any setups; the latest of each kind and subject.
        subjects: Models that the plan is about.
        device, dtype, engine: What the setup must have; any when None. Of a device the number does not count.
    """
    own = [one for one in measurements if one.setup.host == platform.node()]
    kind = None if device is None else device.partition(":")[0]
    wanted = {"device": kind, "dtype": dtype, "engine": engine}
    here = [one for one in own if _likeness(one.setup, wanted) == len(wanted)]

    def rank(setup: Setup) -> tuple[int, float]:
        mine = [one for one in here if one.setup.key == setup.key]
        covered = {one.subject for one in mine if one.kind == "forwards"} & set(subjects)
        return len(covered), max(one.measured_at.timestamp() for one in mine)

    setups = {one.setup.key: one.setup for one in here}
    chosen = max(setups.values(), key=rank, default=None)
    if chosen is not None:
        wanted = {name: getattr(chosen, name) for name in (*wanted, "processor", "threads")}
    elif kind is None and len(kinds := {one.setup.device for one in own}) == 1:
        (wanted["device"],) = kinds
    return Measured(
        chosen,
        here,
        lambda models, heads: fingerprint(shelf, models, heads),
        device=wanted["device"],
        likest=_likest(shelf, own, wanted),
    )


def _likest(shelf: Shelf, own: Sequence[Measurement], wanted: Wanted) -> Measured | None:
    """Of the setups of that device in which something was timed the one likest to what is wanted, then the latest."""
    timed = [one for one in own if one.kind == "forwards" and one.setup.device == wanted["device"]]
    nearest = max(timed, key=lambda one: (_likeness(one.setup, wanted), one.measured_at), default=None)
    return None if nearest is None else known_of(shelf, nearest.setup, own)


def _likeness(setup: Setup, wanted: Wanted) -> int:
    """In how much a setup is as wanted; None wants nothing."""
    return sum(value in {None, getattr(setup, name)} for name, value in wanted.items())


def known_of(shelf: Shelf, setup: Setup, measurements: Sequence[Measurement]) -> Measured:
    """The measurements of exactly that setup."""
    return Measured(setup, measurements, lambda models, heads: fingerprint(shelf, models, heads))
