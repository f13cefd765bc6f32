"""The middle of several passes, number by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from registry.planning.timing import ForwardTime, ForwardTimes


def middle_times(passes: Sequence[ForwardTimes]) -> ForwardTimes:
    """A model's times, each the median of the passes."""
    times = [
        ForwardTime(query=of[0].query, cached=of[0].cached, seconds=median(one.seconds for one in of))
        for of in zip(*(one.times for one in passes), strict=True)
    ]
    outside, ahead = (
        middle_seconds(of) for of in ([one.outside for one in passes], [one.ahead for one in passes])
    )
    return passes[0].model_copy(update={"times": tuple(times), "outside": outside, "ahead": ahead})


def middle_seconds(passes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """By way to draw the median of the passes; nothing where that is less than nothing."""
    return {way: max(0.0, median(one[way] for one in passes)) for way in passes[0]}
