"""A head whose arithmetic is recorded, for a few numbers of positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from heads.engines.recording import RecordingRefusedError, record
from heads.head import AcceptancePredictionHead
from registry.records import Calibration

Question = Literal["acceptance", "logit"]
Held = tuple[Calibration | None, tuple[tuple[int, torch.dtype], ...]]
POSITIONS: Final = (1, 2, 4, 8, 16, 32)


class RecordedHead:
    """Answers as the head does; on small hidden states most of a head's time is spent around its arithmetic."""

    def __init__(self, head: AcceptancePredictionHead) -> None:
        self.head = head
        self.refusal: str | None = None  # why nothing is recorded, where that was tried
        self.held = held_of(head)  # by what is recorded
        self._ways: dict[tuple[Question, int, torch.dtype, torch.device], Callable[[Tensor], Tensor]] = {}
        self._recordings: dict[tuple[Question, int, torch.dtype], Callable[[Tensor], Tensor]] = {}

    @property
    def calibration(self) -> Calibration | None:
        """The head's."""
        return self.head.calibration

    def acceptance(self, hidden: Tensor) -> Tensor:
        """(n, hidden) -> (n,), float32; it holds until the head is asked again."""
        return self._answer("acceptance", hidden)

    def logit(self, hidden: Tensor) -> Tensor:
        """(n, hidden) -> (n,), float32, raw; it holds until the head is asked again."""
        return self._answer("logit", hidden)

    def begin(self) -> None:
        """Let go of what is recorded if the head is another one now: looked at for each text, not for each question."""
        held = held_of(self.head)
        if held != self.held:
            self.held = held
            self._recordings.clear()
            self._ways.clear()

    def warm_up(self, most: int, dtype: torch.dtype) -> None:
        """Record ahead what up to so many positions need."""
        self.begin()
        weight = self.head.output.weight
        known = self.calibration
        outlooks = (None, None) if known is None else (known.greedy, known.sampled)
        for positions in POSITIONS:
            hidden = torch.zeros(positions, self.head.hidden_size, dtype=dtype, device=weight.device)
            if None in outlooks:
                self._recorded("acceptance", hidden)
            if outlooks != (None, None):
                self._recorded("logit", hidden)
            if positions >= most:
                break

    def _answer(self, question: Question, hidden: Tensor) -> Tensor:
        place = (question, len(hidden), hidden.dtype, hidden.device)
        way = self._ways.get(place)
        if way is None:
            way = self._ways[place] = self._way(question, hidden)
        return way(hidden)

    def _way(self, question: Question, hidden: Tensor) -> Callable[[Tensor], Tensor]:
        """How so many positions are answered for."""
        count = len(hidden)
        positions = next((one for one in POSITIONS if one >= count), None)
        if positions is None or hidden.device != self.head.output.weight.device:
            return self._asked(question)
        rest = positions - count
        if not rest:
            return self._recorded(question, hidden)
        play = self._recorded(question, pad(hidden, (0, 0, 0, rest)))
        return lambda now: play(pad(now, (0, 0, 0, rest)))[:count]

    def _asked(self, question: Question) -> Callable[[Tensor], Tensor]:
        return self.head.acceptance if question == "acceptance" else self.head.logit

    def _recorded(self, question: Question, hidden: Tensor) -> Callable[[Tensor], Tensor]:
        place = (question, len(hidden), hidden.dtype)
        if place not in self._recordings:
            ask = self._asked(question)
            try:
                self._recordings[place] = record(ask, hidden)
            except RecordingRefusedError as error:
                self.refusal, self._recordings[place] = str(error), ask
        return self._recordings[place]


def held_of(head: AcceptancePredictionHead) -> Held:
    """What a recording holds fast: the calibration's numbers, and of each weight where it lies and its dtype.

    Numbers that are written into a weight where it lies are seen by a recording as they are by the head.
    """
    return head.calibration, tuple((one.data_ptr(), one.dtype) for one in head.parameters())
