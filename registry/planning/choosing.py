"""The lengths and thresholds with which a chain is fastest along its measured texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from registry.planning.lengths import FIXED, DraftLengths
from registry.planning.replay import Replay, Replayed

LONGEST: Final = 20
THRESHOLDS: Final = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
STEPS: Final = (-4, -2, -1, 1, 2, 4)
MOST_TURNS: Final = 6
WORTH: Final = 0.998  # of the time before: less is no gain


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Lengths, and what came of them along the texts."""

    lengths: DraftLengths
    replayed: Replayed

    @property
    def seconds_per_token(self) -> float:
        """While decoding."""
        return self.replayed.seconds_per_token


@dataclass(frozen=True, kw_only=True)
class Found:
    """The best fixed lengths, the best of all, and everything that was tried, the fastest first."""

    fixed: Choice
    best: Choice
    tried: tuple[Choice, ...]


Ways: TypeAlias = Callable[[DraftLengths], Iterator[DraftLengths]]


def best_lengths(replay: Replay, first: DraftLengths) -> Found:
    """The best fixed lengths, and the best of all: by neighbours, until nothing is gained.

    Args:
        replay: Of the chain.
        first: Fixed lengths to begin with.
    """
    known: dict[str, Choice] = {}

    def played(lengths: DraftLengths) -> Choice:
        key = repr(lengths)
        if key not in known:
            known[key] = Choice(lengths=lengths, replayed=replay.run(lengths))
        return known[key]

    def improved(best: Choice, ways: Ways) -> Choice:
        for _ in range(MOST_TURNS):
            found = min(map(played, ways(best.lengths)), key=_seconds, default=best)
            if found.seconds_per_token >= WORTH * best.seconds_per_token:
                break
            best = found
        return best

    best = fixed = improved(played(first), _other_lengths)
    if replay.asked:
        begun = min([fixed, *map(played, _with_heads(fixed.lengths, replay.asked))], key=_seconds)
        best = improved(begun, lambda lengths: _other_thresholds(lengths, replay.asked))
    return Found(fixed=fixed, best=best, tried=tuple(sorted(known.values(), key=_seconds)))


def _seconds(choice: Choice) -> float:
    return choice.seconds_per_token


def _other_lengths(lengths: DraftLengths) -> Iterator[DraftLengths]:
    """A little more or less on one edge."""
    for edge, most in enumerate(lengths.max_draft):
        for step in STEPS:
            if lengths.min_draft[edge] <= most + step <= LONGEST:
                yield _changed(lengths, edge, max_draft=most + step)


def _with_heads(fixed: DraftLengths, asked: Sequence[int]) -> Iterator[DraftLengths]:
    """The head of one edge decides, the others stay fixed."""
    for edge in asked:
        for threshold in THRESHOLDS:
            for most in {fixed.max_draft[edge] + 1, 2 * fixed.max_draft[edge] + 2}:
                yield _changed(fixed, edge, threshold=threshold, max_draft=min(most, LONGEST))


def _other_thresholds(lengths: DraftLengths, asked: Sequence[int]) -> Iterator[DraftLengths]:
    yield from _other_lengths(lengths)
    for edge in asked:
        for threshold in (*THRESHOLDS, FIXED):
            yield _changed(lengths, edge, threshold=threshold)
        for least in (1, 2, 3):
            if least <= lengths.max_draft[edge]:
                yield _changed(lengths, edge, min_draft=least)


def _changed(lengths: DraftLengths, edge: int, **values: float) -> DraftLengths:
    """The same but for one edge."""
    update = {}
    for name, value in values.items():
        every = list(getattr(lengths, name))
        every[edge] = value
        update[name] = tuple(every)
    return lengths.model_copy(update=update)
