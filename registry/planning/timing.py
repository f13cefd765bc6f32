"""What was measured of time: a model's forwards, and what an edge takes besides."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from registry.records import Record

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ForwardTime(Record):
    """One forward of `query` tokens over a cache of `cached` positions; the median of several, in seconds."""

    query: Annotated[int, Field(gt=0)]
    cached: Annotated[int, Field(ge=0)]
    seconds: Seconds


class ForwardTimes(Record):
    """What a model's forwards take, and what the host does for each token beside them.

    As the target a model may be run otherwise than below one: its queries are padded on a GPU, so that all of them take
    one path. `times` has short queries over a short and a long cache, and longer ones, those of prompts, over an empty
    one.
    `outside` is the time of a token decoded by this model alone that its forward does not take: row, draw, and the
    loop; by 'greedy' and 'sampled'. `ahead` is that of a whole step of a draft, forward included, which this model does
    ahead of the host: the host's work or the device's, whichever is longer. There is none where it drafts token by
    token, as on a CPU, nor in older measurements.
    """

    model: str
    as_target: bool = False
    times: tuple[ForwardTime, ...]
    outside: dict[str, Seconds]
    ahead: dict[str, Seconds] = Field(default_factory=dict)

    def seconds(self, query: int, cached: int = 0) -> float:
        """A forward's time: between what was measured on straight lines, beyond it in proportion.

        Args:
            query: Tokens it is fed.
            cached: Positions before them.
        """
        tables: dict[int, dict[int, float]] = {}
        for one in self.times:
            tables.setdefault(one.cached, {})[one.query] = one.seconds
        short = {cached: table for cached, table in tables.items() if cached}
        if not short or query > max(max(table) for table in short.values()):
            longest = tables.get(0) or max(tables.values(), key=len)
            return _between(longest, query)
        return _between({one: _between(table, query) for one, table in short.items()}, cached, hold=True)

    def drawing(self, way: str) -> float:
        """What a token takes beside its forward that this model drafts for another.

        A step ahead of the host may take less than a forward that is waited for: then it is less than nothing. With its
        forward over the cache that steps were timed over, the shortest, it is the step as it was measured.
        """
        if way not in self.ahead:
            return self.outside[way]
        return self.ahead[way] - self.seconds(
            1, min((one.cached for one in self.times if one.cached), default=0)
        )


class EdgeTimes(Record):
    """What one edge's rounds take besides forwards, by 'greedy' and 'sampled', in seconds.

    `verify` is that of each verification: rows, verdict, bookkeeping; `questions` of each question that may stop a
    draft, to its head, to its source's confidence, or to both; none without a head. `ahead` is what a step of a draft
    ahead of the host takes more where it is asked: as for `ForwardTimes`, by the chain's lowest model alone. `step` is
    what each forward of the source takes more in a chain than alone, where it was not timed ahead of the host. Older
    measurements know `head` alone, of each call of the head.
    """

    source: str
    target: str
    head_name: str | None = None
    head: Seconds = 0.0
    questions: dict[str, Seconds] = Field(default_factory=dict)
    ahead: dict[str, Seconds] = Field(default_factory=dict)
    verify: dict[str, Seconds]
    step: Seconds = 0.0

    def question(self, way: str, *, lowest: bool = False) -> float:
        """What one question takes where tokens are drawn so.

        Args:
            way: 'greedy' or 'sampled'.
            lowest: Whether the edge is a chain's first, whose source drafts ahead of the host where it can.
        """
        known = self.questions.get(way, self.head)
        return self.ahead.get(way, known) if lowest else known


class ChainTimes(Record):
    """What a round of the last of three models or more takes beside all that its models and edges tell, in seconds.

    Each edge was measured as a chain of two. In a longer one models find the processor's caches otherwise, so this may
    be less than nothing.
    """

    models: tuple[str, ...]
    round: Annotated[float, Field(allow_inf_nan=False)]


def _between(table: Mapping[int, float], place: int, *, hold: bool = False) -> float:
    """The value at a place. Below the first it is the first; beyond the last it grows in proportion, or holds."""
    places: Sequence[int] = sorted(table)
    index = bisect_left(places, place)
    if index == 0:
        return table[places[0]]
    if index == len(places):
        last = table[places[-1]]
        return last if hold else last * place / places[-1]
    low, high = places[index - 1], places[index]
    share = (place - low) / (high - low)
    return table[low] * (1 - share) + table[high] * share
