"""How long to draft with a chain, by what this machine was seen to do: looked up when it decodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from heads.cascade import Cascade
from heads.measuring.setting import setup_of
from registry.planning.estimate import Estimator
from registry.planning.known import known_of
from registry.planning.law import Law
from registry.planning.lengths import DraftLengths
from registry.planning.measurement import Measurement
from registry.planning.sizes import sized_models

if TYPE_CHECKING:
    from registry.pipeline import Pipeline


@dataclass(frozen=True, kw_only=True)
class KnownLengths:
    """Lengths, and whether they were tuned by running the chain or planned by what was measured of it."""

    lengths: DraftLengths
    origin: Literal["tuned", "planned"]


def known_lengths(
    pipeline: Pipeline, cascade: Cascade, law: Law, measurements: Sequence[Measurement]
) -> KnownLengths | None:
    """What `specreg tune` found for these very checkpoints, run like this, under this law, else what is planned.

    Planned they are by `specreg measure` alone: where anything of the chain would have to be assumed, nothing is known.

    Args:
        pipeline: The chain.
        cascade: The same, loaded.
        law: How the text is drawn.
        measurements: All that the store tells.
    """
    if not pipeline.heads:
        return None
    heads = [head.name for head in pipeline.heads]
    known = known_of(pipeline.shelf, setup_of(cascade), measurements)
    tuned = known.lengths(pipeline.models, heads, law)
    if tuned is not None:
        return KnownLengths(lengths=tuned, origin="tuned")
    estimator = Estimator(sized_models(pipeline.shelf), known, law)
    if not estimator.knows(pipeline.models):
        return None
    planned = estimator.estimate(pipeline.models, heads)
    if planned is None or not planned.measured:
        return None
    return KnownLengths(lengths=planned.lengths, origin="planned")
