"""What was found for a chain on this machine, looked up when it decodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from heads.cascade import Cascade
from heads.measuring.setting import setup_of
from registry.planning.known import known_of
from registry.planning.law import Law
from registry.planning.lengths import DraftLengths
from registry.planning.measurement import Measurement

if TYPE_CHECKING:
    from registry.pipeline import Pipeline


def tuned_lengths(
    pipeline: Pipeline, cascade: Cascade, law: Law, measurements: Sequence[Measurement]
) -> DraftLengths | None:
    """The lengths that `specreg tune` stored for these very checkpoints, run like this, under this law, or None.

    Args:
        pipeline: The chain.
        cascade: The same, loaded.
        law: How the text is drawn.
        measurements: All that the store tells.
    """
    if not pipeline.heads:
        return None
    known = known_of(pipeline.shelf, setup_of(cascade), measurements)
    return known.lengths(pipeline.models, [head.name for head in pipeline.heads], law)
