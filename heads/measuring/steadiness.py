"""Whether several passes over the same thing tell one story, or a machine that others use at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

MOST_APART: Final = 0.5  # of the least


def no_dearer(seconds: Mapping[int, float]) -> dict[int, float]:
    """Times by length of query, none above that of a longer one: what is fed could be padded to it.

    A slow moment of the machine makes one length dear, and never all that are longer.

    >>> no_dearer({1: 2.0, 4: 18.4, 8: 11.1})
    {1: 2.0, 4: 11.1, 8: 11.1}
    """
    return {length: min(other for longer, other in seconds.items() if longer >= length) for length in seconds}


def unsteady(passes: Sequence[float], *, of: float | None = None) -> bool:
    """Whether the passes, without the quarter at either end, lie far apart.

    Args:
        passes: Seconds of each.
        of: Of what more than half is far; the least of the passes when None.

    >>> unsteady([1.0, 1.1, 1.2]), unsteady([1.0, 1.1, 1.6]), unsteady([1.0, 1.0, 1.1, 1.1, 9.0])
    (False, True, False)
    """
    dropped = len(passes) // 4
    middle = sorted(passes)[dropped : len(passes) - dropped]
    return middle[-1] - middle[0] > MOST_APART * (middle[0] if of is None else of)
