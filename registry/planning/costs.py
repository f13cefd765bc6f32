"""What a chain's steps take, as the models of its speed count them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from registry.planning.timing import ChainTimes, EdgeTimes, ForwardTimes

LONGEST_QUERY: Final = 32  # tokens of the longest query that is looked up


@dataclass(frozen=True, kw_only=True)
class ChainCosts:
    """Seconds of everything a chain does, smallest model first.

    forwards: Of each level, by the number of tokens it is fed; the first entry, of no token, is 0.
    draw: Of a token drawn at the lowest level, besides its forward; less than nothing where a draft's steps overlap.
    verify: Of each level above the lowest, besides its forward: rows, verdict, bookkeeping.
    heads: Of each edge, one question to its head.
    prompt: Of each level, a token of the prompt; the first forward reads it.
    """

    forwards: tuple[tuple[float, ...], ...]
    draw: float = 0.0
    verify: tuple[float, ...] = ()
    heads: tuple[float, ...] = ()
    prompt: tuple[float, ...] = field(default=())

    @classmethod
    def flat(cls, *seconds: float) -> ChainCosts:
        """Forwards that take the same for any number of tokens, and nothing besides them."""
        edges = len(seconds) - 1
        return cls(
            forwards=tuple((0.0, *(one,) * LONGEST_QUERY) for one in seconds),
            verify=(0.0,) * edges,
            heads=(0.0,) * edges,
            prompt=(0.0,) * len(seconds),
        )

    @classmethod
    def measured(
        cls,
        models: Sequence[ForwardTimes],
        edges: Sequence[EdgeTimes],
        *,
        greedy: bool,
        cached: int,
        prompt_tokens: int = 32,
        chain: ChainTimes | None = None,
    ) -> ChainCosts:
        """From what was measured of a chain's models and its edges.

        Args:
            models: Smallest first; the last one as the target.
            edges: Smallest first.
            greedy: Whether tokens are the likeliest, or drawn.
            cached: Positions of the cache, in the middle of the text.
            prompt_tokens: How long a prompt is about.
            chain: Of the whole chain, where it was run.
        """
        law = "greedy" if greedy else "sampled"
        lowest = models[0]
        queries = range(1, LONGEST_QUERY + 1)
        verify = [edge.verify[law] for edge in edges]
        steps = [*(edge.step for edge in edges), 0.0]
        if chain is not None:
            # Beside forwards a round takes no less than nothing, whatever a slow moment of the machine told; and where
            # hardly anything is drafted, there is no more of it than the last forward.
            least = models[-1].seconds(1, cached) / 2
            verify[-1] = max(verify[-1] + max(chain.round, -sum(verify)), -least)
        return cls(
            forwards=tuple(
                (0.0, *(one.seconds(query, cached) + step for query in queries))
                for one, step in zip(models, steps, strict=True)
            ),
            draw=max(lowest.drawing(law), -lowest.seconds(1, cached)) if edges else lowest.outside[law],
            verify=tuple(verify),
            heads=tuple(edge.question(law, lowest=place == 0) for place, edge in enumerate(edges)),
            prompt=tuple(one.seconds(prompt_tokens) / prompt_tokens for one in models),
        )

    def forward(self, level: int, query: int) -> float:
        """One forward of a level."""
        table = self.forwards[level]
        return table[query] if query < len(table) else table[-1] * query / (len(table) - 1)
