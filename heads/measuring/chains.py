"""What a chain of three models or more takes beside what its models and its edges tell."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

from heads.cascade import Cascade
from heads.generation import Generation
from heads.measuring.edges import RoundSeconds, brief_and_whole
from heads.measuring.effort import Effort
from heads.measuring.forwards import WAYS
from registry.planning.timing import ForwardTimes

LENGTH: Final = (
    3  # tokens drafted a round by the lowest level; each above it drafts twice as many as the one below
)


def chain_seconds(
    cascade: Cascade,
    prompt: Sequence[int],
    *,
    times: Sequence[ForwardTimes],
    rounds: Sequence[RoundSeconds],
    effort: Effort,
) -> float:
    """Of a round of the last model: what is left when forwards, draws and verifications are taken off.

    It is less than nothing where they explain more than passed.

    Args:
        cascade: The chain; its heads are not asked.
        prompt: Token ids that the texts begin with.
        times: Of its models, in their roles, smallest first.
        rounds: What those of its edges take.
        effort: How many texts, and how long.
    """
    bare = cascade.part(range(len(cascade.models)), [None] * len(cascade.heads))
    lengths = drafted(len(cascade.heads))
    rest: list[float] = []
    for way, law in WAYS.items():
        for run in range(effort.runs):
            brief, whole = brief_and_whole(bare, prompt, max_draft=lengths, seed=run, law=law, effort=effort)
            left = [out.seconds - explained_seconds(out, times, rounds, way) for out in (brief, whole)]
            count = whole.levels[-1].forwards - brief.levels[-1].forwards
            rest.append((left[1] - left[0]) / max(1, count))
    return median(rest)


def drafted(edges: int) -> list[int]:
    """Tokens a round of each edge, smallest first."""
    return [LENGTH * 2**edge for edge in range(edges)]


def explained_seconds(
    out: Generation, times: Sequence[ForwardTimes], rounds: Sequence[RoundSeconds], way: str
) -> float:
    """What a text should have taken: each model's forwards, of as many tokens as it was proposed in the mean.

    A drafted token counts as a plan counts it: of the very texts that were timed a plan foresees what they took.
    """
    middle = out.prompt_tokens + out.new_tokens // 2
    seconds = out.levels[0].forwards * times[0].drawing(way)
    for place, (level, one) in enumerate(zip(out.levels, times, strict=True)):
        proposed = out.levels[place - 1].proposed or 0 if place else 0
        query = round(proposed / level.forwards) + 1
        seconds += one.seconds(out.prompt_tokens) + (level.forwards - 1) * one.seconds(query, middle)
        if place:
            seconds += level.forwards * rounds[place - 1].verify[way]
        if place < len(rounds):
            seconds += level.forwards * rounds[place].step
    return seconds
