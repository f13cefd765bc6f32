"""What a chain's speed is expected to be where each edge keeps a token with one probability, whatever went before.

With fixed lengths a level below the top always hands up as many tokens as it was asked for: it rounds until it has
them. What is random is how many rounds that takes. A round of a level that wants r tokens more lets the one below
propose m = min(its length, r - 1), since one place stays for the level's own token; k of them are kept, k < m with
probability a^k (1 - a), all of them with a^m; then k + 1 are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from registry.planning.costs import ChainCosts
from registry.planning.lengths import DraftLengths

LENGTHS: Final = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)
COARSE: Final = (1, 2, 3, 4, 6, 8, 12)  # of chains of four models and more


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Seconds a token takes, and the fixed lengths with which it does."""

    seconds_per_token: float
    lengths: DraftLengths


def kept_by_chance(acceptance: float, proposed: int) -> list[float]:
    """The probability that 0, 1 ... of so many proposed tokens are kept.

    >>> kept_by_chance(0.5, 2)
    [0.5, 0.25, 0.25]
    """
    return [*(acceptance**kept * (1 - acceptance) for kept in range(proposed)), acceptance**proposed]


def seconds_per_token(costs: ChainCosts, acceptance: Sequence[float], lengths: Sequence[int]) -> float:
    """Of a chain that drafts fixed lengths.

    Args:
        costs: Of the chain.
        acceptance: Of each edge, smallest first.
        lengths: Of each edge, at least 1.
    """
    below = _drafting(costs, lengths[0] if lengths else 1)
    for level in range(1, len(lengths)):
        below = _proposing(costs, level, below, acceptance[level - 1], most=lengths[level])
    if not lengths:
        return below[1]
    return _last_round(costs, below, acceptance[-1])


def best_fixed(
    costs: ChainCosts, acceptance: Sequence[float], *, grid: Sequence[int] | None = None
) -> Expected:
    """The fixed lengths with which a chain is expected to be fastest; no level drafts less than the one below it."""
    if not acceptance:
        return Expected(seconds_per_token=seconds_per_token(costs, (), ()), lengths=DraftLengths.fixed())
    best = min(_tried(costs, acceptance, grid or (LENGTHS if len(acceptance) < 3 else COARSE)))
    return Expected(seconds_per_token=best[0], lengths=DraftLengths.fixed(*best[1]))


def _tried(
    costs: ChainCosts, acceptance: Sequence[float], grid: Sequence[int]
) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Every combination of lengths; what lower levels take is found once for all that is above them."""
    edges = len(acceptance)
    proposals: dict[tuple[int, ...], list[float]] = {(one,): _drafting(costs, one) for one in grid}
    for level in range(1, edges):
        proposals = {
            (*lengths, more): _proposing(costs, level, below, acceptance[level - 1], most=more)
            for (lengths, below), more in product(proposals.items(), grid)
            if more >= lengths[-1]
        }
    for lengths, below in proposals.items():
        yield _last_round(costs, below, acceptance[-1]), lengths


def _last_round(costs: ChainCosts, below: Sequence[float], acceptance: float) -> float:
    """Seconds a token of the last level, out of what the level below it takes for 0, 1 ... all its tokens."""
    most = len(below) - 1
    seconds = below[most] + costs.forward(-1, most + 1) + costs.verify[-1]
    return seconds / sum((kept + 1) * share for kept, share in enumerate(kept_by_chance(acceptance, most)))


def _drafting(costs: ChainCosts, most: int) -> list[float]:
    """Seconds in which the lowest level has 0, 1 ... `most` tokens."""
    step = costs.forward(0, 1) + costs.draw
    return [count * step for count in range(most + 1)]


def _proposing(
    costs: ChainCosts, level: int, below: Sequence[float], acceptance: float, *, most: int
) -> list[float]:
    """Seconds in which a level has 0, 1 ... `most` tokens, out of what the level below it takes for its own."""
    length = len(below) - 1
    chances = [kept_by_chance(acceptance, proposed) for proposed in range(length + 1)]
    found = [0.0]
    for wanted in range(1, most + 1):
        proposed = min(length, wanted - 1)
        round_ = below[proposed] + costs.forward(level, proposed + 1) + costs.verify[level - 1]
        rest = sum(share * found[wanted - kept - 1] for kept, share in enumerate(chances[proposed]))
        found.append(round_ + rest)
    return found
