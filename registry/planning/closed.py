"""The speed of many chains at once, by a formula that counts rounds: to find those worth a closer look.

With acceptance a on an edge and G the generating function of how many tokens come up from below, one round of the
level above hands up E(s) = s [1 - (1 - s) a (1 - G(a s)) / (1 - a s)] at the cost below and one forward; R rounds
make E^R at R times the cost. The lowest level: G(s) = s^k at k forwards. At the top a round leaves
1 + a (1 - G(a)) / (1 - a) tokens. Decoding itself does not count rounds, it stops by lengths (see `expected`): the two
differ by up to five per cent where a chain has four models, by one where it has fewer.

Source: Leviathan et al., arXiv:2211.17192, theorem 3.8, applied level by level.
"""

from __future__ import annotations

from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

DRAFTED: Final = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)
ROUNDS: Final = (1, 2, 3, 4)


def fastest(seconds: Array, acceptance: Array) -> Array:
    """The fewest seconds a token, over drafted tokens and rounds, of each chain.

    Args:
        seconds: (chains, models), of a forward, smallest model first.
        acceptance: (chains, models - 1), each below 1.

    Returns:
        (chains,).
    """
    edges = acceptance.shape[1]
    best: Array = seconds[:, -1].copy()
    if edges == 0:
        return best
    best.fill(np.inf)
    for drafted, *rounds in product(DRAFTED, *[ROUNDS] * (edges - 1)):
        last = acceptance[:, -1]
        below = _generated(acceptance, drafted, rounds, last)
        tokens = 1 + last * (1 - below) / (1 - last)
        cost = drafted * seconds[:, 0]
        for level, count in enumerate(rounds, start=1):
            cost = count * (cost + seconds[:, level])
        np.minimum(best, (cost + seconds[:, -1]) / tokens, out=best)
    return best


def _generated(acceptance: Array, drafted: int, rounds: list[int], s: Array) -> Array:
    """G(s) of the level that the given rounds end at."""
    if not rounds:
        return s**drafted
    a = acceptance[:, len(rounds) - 1]
    below = _generated(acceptance, drafted, rounds[:-1], a * s)
    one: Array = s * (1 - (1 - s) * a * (1 - below) / (1 - a * s))
    return one ** rounds[-1]
