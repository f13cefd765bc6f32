"""Which prompts are held out: for evaluation and calibration, and never to learn from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Sequence


def held_out_of(prompts: Sequence[Hashable], share: float) -> tuple[int, ...]:
    """Places of the prompts to hold out: those whose hashes are lowest, equal prompts together.

    The choice rests on the prompts alone, so that the same prompts in another order are held out.

    Args:
        prompts: In order.
        share: Of the different prompts, 0..1; rounded up where it is not 0, but one is always left to learn from.
    """
    different = sorted(set(prompts), key=lambda one: hashlib.sha256(repr(one).encode()).digest())
    count = min(math.ceil(share * len(different)), len(different) - 1)
    kept = set(different[:count])
    return tuple(place for place, one in enumerate(prompts) if one in kept)
