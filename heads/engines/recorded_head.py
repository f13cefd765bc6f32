"""A head whose arithmetic is recorded, for each number of positions it is asked about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from heads.engines.recording import RecordingRefusedError, record
from heads.head import AcceptancePredictionHead

MOST_POSITIONS: Final = 32


class RecordedHead:
    """Answers as the head does; on small hidden states most of a head's time is spent around its arithmetic."""

    def __init__(self, head: AcceptancePredictionHead) -> None:
        self.head = head
        self._recordings: dict[tuple[int, torch.dtype], Callable[[Tensor], Tensor]] = {}

    def acceptance(self, hidden: Tensor) -> Tensor:
        """(n, hidden) -> (n,), float32; it holds until the head is asked again about as many positions."""
        if len(hidden) > MOST_POSITIONS or hidden.device != self.head.output.weight.device:
            return self.head.acceptance(hidden)
        key = len(hidden), hidden.dtype
        found = self._recordings.get(key)
        if found is None:
            try:
                found = record(self.head.acceptance, hidden)
            except RecordingRefusedError:
                found = self.head.acceptance
            self._recordings[key] = found
        return found(hidden)
