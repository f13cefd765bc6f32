"""The best fixed lengths of a system, found by trying: what adaptive lengths must be held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Final

from heads.bench.systems import CascadeSystem, Sampling

LENGTHS: Final = (1, 2, 3, 4, 6, 8, 12)
LOWER: Final = (1, 2, 3, 4)
UPPER: Final = (2, 4, 6, 8, 12)
TRIED_TOKENS: Final = 64


def candidates(edges: int) -> Iterator[tuple[int, ...]]:
    """Lengths to try, one per edge, smallest edge first; none drafts less than the edge below it."""
    grid = [LENGTHS] if edges == 1 else [*[LOWER] * (edges - 1), UPPER]
    for lengths in product(*grid):
        if list(lengths) == sorted(lengths):
            yield lengths


def best_fixed(
    system: CascadeSystem,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    tried: Callable[[], None] = lambda: None,
) -> CascadeSystem:
    """The system with the fixed lengths that decoded these prompts fastest."""
    short = replace(sampling, max_new_tokens=min(TRIED_TOKENS, sampling.max_new_tokens))
    speeds: dict[tuple[int, ...], float] = {}
    for lengths in candidates(len(system.cascade.heads)):
        attempt = replace(system, settings={"schedule": "fixed", "max_draft": list(lengths)})
        runs = [attempt.run(prompt, short, seed=index) for index, prompt in enumerate(prompts)]
        speeds[lengths] = sum(len(run.token_ids) for run in runs) / sum(run.seconds for run in runs)
        tried()
    best = max(speeds, key=lambda lengths: speeds[lengths])
    return replace(system, settings={"schedule": "fixed", "max_draft": list(best)})
