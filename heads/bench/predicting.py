"""What is predicted of a benchmark's systems by what `specreg measure` stored: to be judged beside the outcome."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import mean
from typing import TYPE_CHECKING

from heads.bench.systems import CascadeSystem, Sampling, System
from heads.measuring.setting import setup_of
from heads.settings import lengths_of
from registry.planning.estimate import Estimator
from registry.planning.known import known_of
from registry.planning.law import Law
from registry.planning.measurement import Measurement

if TYPE_CHECKING:
    from registry.pipeline import Pipeline


def predictions(
    pipeline: Pipeline,
    systems: Sequence[System],
    sampling: Sampling,
    *,
    prompts: Sequence[Sequence[int]],
    measurements: Sequence[Measurement],
    direct: str | None = None,
) -> dict[str, float | None]:
    """Tokens per second of each mode, prompts read too; None where it was not measured, or is not ours to predict.

    Args:
        pipeline: The chain.
        systems: With the settings they ran with.
        sampling: How texts were drawn.
        prompts: Their token ids.
        measurements: All that the store tells.
        direct: The name of the head from the first model to the last, where one skips what is between.
    """
    law = Law(
        temperature=sampling.temperature, top_k=sampling.top_k, top_p=sampling.top_p, min_p=sampling.min_p
    )
    names = {(head.source, head.target): head.name for head in pipeline.heads}
    if direct is not None:
        names[pipeline.models[0], pipeline.target] = direct
    prompt_tokens = mean(map(len, prompts))
    middle = round(prompt_tokens + sampling.max_new_tokens / 2)
    found: dict[str, float | None] = {}
    for system in systems:
        found[system.mode] = None
        if not isinstance(system, CascadeSystem) or system.mode.endswith((":confidence", ":heuristic")):
            continue
        known = known_of(pipeline.shelf, setup_of(system.cascade), measurements)
        found[system.mode] = Estimator(pipeline.shelf.catalog.models, known, law, cached=middle).speed(
            system.models,
            [names.get(edge, "") for edge in pairwise(system.models)],
            lengths_of(system.settings, edges=len(system.models) - 1),
            prompt_tokens=prompt_tokens,
            new_tokens=sampling.max_new_tokens,
        )
    return found
