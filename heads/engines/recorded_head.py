"""A head whose arithmetic is recorded, for a few numbers of positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import pad

from heads.engines.recording import RecordingRefusedError, record
from heads.head import AcceptancePredictionHead

POSITIONS: Final = (1, 2, 4, 8, 16, 32)


class RecordedHead:
    """Answers as the head does; on small hidden states most of a head's time is spent around its arithmetic."""

    def __init__(self, head: AcceptancePredictionHead) -> None:
        self.head = head
        self.refusal: str | None = None  # why nothing is recorded, where that was tried
        self._recordings: dict[tuple[int, torch.dtype], Callable[[Tensor], Tensor]] = {}

    def acceptance(self, hidden: Tensor) -> Tensor:
        """(n, hidden) -> (n,), float32; it holds until the head is asked again."""
        count = len(hidden)
        positions = next((one for one in POSITIONS if one >= count), None)
        if positions is None or hidden.device != self.head.output.weight.device:
            return self.head.acceptance(hidden)
        if positions > count:
            hidden = pad(hidden, (0, 0, 0, positions - count))
        found = self._recordings.get((positions, hidden.dtype))
        if found is None:
            found = self._record(hidden)
        return found(hidden)[:count]

    def warm_up(self, most: int, dtype: torch.dtype) -> None:
        """Record ahead what up to so many positions need."""
        weight = self.head.output.weight
        for positions in POSITIONS:
            if (positions, dtype) not in self._recordings:
                self._record(torch.zeros(positions, self.head.hidden_size, dtype=dtype, device=weight.device))
            if positions >= most:
                break

    def _record(self, hidden: Tensor) -> Callable[[Tensor], Tensor]:
        try:
            found = record(self.head.acceptance, hidden)
        except RecordingRefusedError as error:
            self.refusal, found = str(error), self.head.acceptance
        self._recordings[len(hidden), hidden.dtype] = found
        return found
