"""The best settings of a system, found by trying: fixed lengths, or the thresholds at which heads stop.

What adaptive lengths must be held against is the best *fixed* length; thresholds are tried as lengths are. All
candidates decode a few prompts; the best of those decode them again with other seeds, since the fastest of many
on one try is the luckiest too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, Final

from heads.bench.systems import CascadeSystem, Sampling

LENGTHS: Final = (1, 2, 3, 4, 5, 6, 8, 12)
LOWER: Final = (1, 2, 3, 4)
UPPER: Final = (2, 3, 4, 5, 6, 8, 12)
THRESHOLDS: Final = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
BOUNDS: Final = (5, 12, 20)
MOST_DRAFTED: Final = max(BOUNDS)
LOWER_THRESHOLDS: Final = (0.15, 0.3, 0.5)
UPPER_THRESHOLDS: Final = (0.4, 0.5, 0.6, 0.7, 0.85)
LOWER_BOUND: Final = 4
FINALISTS: Final = 4
FINALS: Final = 3
TRIED_TOKENS: Final = 64

Settings = dict[str, Any]


def fixed_candidates(edges: int) -> Iterator[Settings]:
    """Lengths to try, one per edge, smallest edge first; none drafts less than the edge below it."""
    grid = [LENGTHS] if edges == 1 else [*[LOWER] * (edges - 1), UPPER]
    for lengths in product(*grid):
        if list(lengths) == sorted(lengths):
            yield {"schedule": "fixed", "max_draft": list(lengths)}


def advised_candidates(edges: int) -> Iterator[Settings]:
    """Thresholds to try with bounds on the length, one per edge."""
    if edges == 1:
        for threshold, bound in product(THRESHOLDS, BOUNDS):
            yield {"threshold": [threshold], "max_draft": [bound]}
        return
    grid = [*[LOWER_THRESHOLDS] * (edges - 1), UPPER_THRESHOLDS]
    for thresholds, bound in product(product(*grid), BOUNDS):
        yield {"threshold": list(thresholds), "max_draft": [LOWER_BOUND] * (edges - 1) + [bound]}


def tries(candidates: Sequence[Settings]) -> int:
    """How many times `best_of` decodes the prompts."""
    return len(candidates) + FINALS * min(FINALISTS, len(candidates))


def best_of(
    system: CascadeSystem,
    candidates: Sequence[Settings],
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    tried: Callable[[], None] = lambda: None,
) -> CascadeSystem:
    """The system with those of the settings that decoded these prompts fastest."""
    short = replace(sampling, max_new_tokens=min(TRIED_TOKENS, sampling.max_new_tokens))
    seconds = [0.0] * len(candidates)
    tokens = [0] * len(candidates)

    def attempt(index: int, round_: int) -> None:
        trial = replace(system, settings=candidates[index])
        for place, prompt in enumerate(prompts):
            run = trial.run(prompt, short, seed=1000 * round_ + place)
            seconds[index] += run.seconds
            tokens[index] += len(run.token_ids)
        tried()

    def speed(index: int) -> float:
        return tokens[index] / seconds[index]

    for index in range(len(candidates)):
        attempt(index, 0)
    finalists = sorted(range(len(candidates)), key=speed, reverse=True)[:FINALISTS]
    for round_ in range(1, FINALS + 1):
        for index in finalists:
            attempt(index, round_)
    return replace(system, settings=candidates[max(finalists, key=speed)])
