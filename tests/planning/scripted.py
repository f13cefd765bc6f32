"""Levels that say what they were told to, whatever they read: the real rounds over them can be foretold exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from heads.level import Fed
from registry.records import Calibration

VOCABULARY = 4


class ScriptedLevel:
    """Says `said[t]` at place t of the text, as sure of it as `sure[t]`, and shows the place as its hidden state."""

    def __init__(self, name: str, said: Sequence[int], sure: Sequence[float] | None = None) -> None:
        self.name = name
        self.length = 0
        self.forwards = 0
        self.seconds = 0.0
        self.queries: list[int] = []
        self._said = said
        self._sure = sure

    def begin(self, positions: int = 0) -> None:
        """Nothing is kept."""
        del positions

    def feed(self, token_ids: Sequence[int] | Tensor, rows: int) -> Fed:
        """Position p, the prompt's one token being 0, is followed by what is said at place p."""
        self.length += len(token_ids)
        self.forwards += 1
        self.queries.append(len(token_ids))
        places = torch.arange(self.length - rows, self.length)
        logits = torch.full((rows, VOCABULARY), -10.0)
        for row, place in enumerate(places.tolist()):
            logits[row, self._said[place]] = 10.0
            if self._sure is not None:
                rest = (1 - self._sure[place]) / (VOCABULARY - 1)
                logits[row] = math.log(rest)
                logits[row, self._said[place]] = math.log(self._sure[place])
        return Fed(logits=logits, hidden=places[:, None].float() - 1)

    def rollback(self, length: int) -> None:
        """Forget."""
        self.length = min(self.length, length)


class ScriptedHead:
    """Says `numbers[t]` about the token at place t."""

    calibration: Calibration | None = None

    def __init__(self, numbers: Sequence[float]) -> None:
        self._numbers = numbers
        self.questions = 0

    def logit(self, hidden: Tensor) -> Tensor:
        """(n, 1) -> (n,)."""
        return torch.logit(self.acceptance(hidden))

    def acceptance(self, hidden: Tensor) -> Tensor:
        """(n, 1) -> (n,)."""
        self.questions += 1
        return torch.tensor(
            [self._numbers[int(place)] if place >= 0 else 0.5 for place in hidden[:, 0].tolist()]
        )
