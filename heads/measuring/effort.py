"""How much is measured: more of it takes longer and is surer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How often things are timed.

    passes: Over everything that is timed: a slow minute of the machine meets a part of each thing's times.
    forwards: Times that each length of query is fed in a pass, at most.
    seconds: After so long one length is fed no more in a pass; it is fed once at least.
    runs: Texts decoded by each law in a pass; of an edge, with each length of draft.
    tokens: New tokens of each of those.
    head: Times a head is asked in a pass, and a draft ahead of the host is timed, at most.
    """

    passes: int = 5
    forwards: int = 5
    seconds: float = 0.13
    runs: int = 2
    tokens: int = 32
    head: int = 10


USUAL: Final = Effort()
# three: of one pass nobody sees that it was slow, and of two not which
QUICK: Final = Effort(passes=3, forwards=2, seconds=0.06, runs=1, tokens=24)
