"""Levels whose rows hang on the place alone, and decoding over them token by token: what a replay is held against."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float64]


def rows_of(levels: int, *, places: int, vocabulary: int = 30, apart: float = 0.8) -> list[Rows]:
    """(places, vocabulary) of each level, smallest first: each model strays from the one above it."""
    chance = np.random.default_rng(1)
    logits = [2.5 * chance.normal(size=(places, vocabulary))]
    for _ in range(levels - 1):
        logits.append(logits[-1] + apart * chance.normal(size=(places, vocabulary)))
    found = [np.exp(one) for one in reversed(logits)]
    return [one / one.sum(axis=1, keepdims=True) for one in found]


class Drawn:
    """Fixed lengths, tokens drawn and verified one by one; `forwards` counts those of each level."""

    def __init__(self, rows: Sequence[Rows], lengths: Sequence[int]) -> None:
        self.rows, self.lengths = rows, lengths
        self.forwards = [0] * len(rows)
        self._chance = random.Random(5)  # noqa: S311 - a simulation

    def decode(self, tokens: int) -> list[float]:
        """Forwards of each level for a token of the last one."""
        done = 0
        while done < tokens:
            done += len(self._verify(len(self.rows) - 1, done, tokens - done))
        return [count / done for count in self.forwards]

    def _propose(self, level: int, start: int, budget: int) -> list[int]:
        found: list[int] = []
        while len(found) < min(budget, self.lengths[level]):
            left = min(budget, self.lengths[level]) - len(found)
            found += self._verify(level, start + len(found), left)
        return found

    def _verify(self, level: int, start: int, budget: int) -> list[int]:
        self.forwards[level] += 1
        proposed = self._propose(level - 1, start, budget - 1) if level else []
        for place, token in enumerate(proposed):
            q, p = (self._row(one, start + place) for one in (level - 1, level))
            if self._chance.random() * q[token] >= p[token]:
                return [*proposed[:place], self._one_of(np.maximum(p - q, 0))]
        return [*proposed, self._one_of(self._row(level, start + len(proposed)))]

    def _row(self, level: int, place: int) -> Rows:
        rows = self.rows[level]
        row: Rows = rows[place % len(rows)]
        return row

    def _one_of(self, weights: Rows) -> int:
        sums = weights.cumsum()
        return min(int(np.searchsorted(sums, self._chance.random() * sums[-1], side="right")), len(sums) - 1)
