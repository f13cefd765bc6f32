"""A model run as it comes: any device, any length, a cache that grows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from heads.anatomy import require_eval, require_rollback
from heads.engines.forward import Forward
from heads.engines.proof import prove_rollback
from heads.level import Fed


class EagerLevel:
    """A transformers causal LM, run eagerly, one sequence.

    The cache keeps every position of every layer, sliding-window layers too: the window is in the mask. A cache
    that dropped what left the window could not be rolled back past it.

    Args:
        model: In eval mode; on any device, or several, and of any floating dtype.
        name: What reports and messages call it.

    Raises:
        RollbackError: the model's state cannot be taken back token by token.
        IncompatibleError: it shows no last hidden state, counts positions otherwise, or is in training mode.
    """

    engine: Final = "eager"

    def __init__(self, model: PreTrainedModel, *, name: str) -> None:
        self.model = model
        self.name = name
        self.length = 0
        self.forwards = 0
        self.seconds = 0.0
        self._cache: DynamicCache | None = None
        require_eval(model, name)
        require_rollback(model, name)
        self._forward = Forward(model, name)
        try:
            prove_rollback(self, model)
        finally:
            self.end()

    def begin(self, positions: int = 0) -> None:  # noqa: ARG002 - the cache grows by itself
        """Empty the cache and the counters."""
        self._cache = DynamicCache()
        self.length = 0
        self.forwards = 0
        self.seconds = 0.0

    def end(self) -> None:
        """Give the cache's memory back."""
        self._cache = None
        self.length = 0

    @torch.inference_mode()
    def feed(self, token_ids: Sequence[int] | Tensor, rows: int) -> Fed:
        """One forward."""
        started = time.perf_counter()
        if self._cache is None:
            raise RuntimeError("feed before begin")
        device = self._forward.device
        ids = torch.as_tensor(token_ids, dtype=torch.long, device=device)
        positions = torch.arange(self.length, self.length + len(ids), device=device)
        logits, hidden = self._forward(ids, positions, self._cache, rows=rows)
        self.length += len(ids)
        self.forwards += 1
        self.seconds += time.perf_counter() - started
        return Fed(logits=logits, hidden=hidden)

    @torch.inference_mode()
    def rollback(self, length: int) -> None:
        """`crop` takes the number of positions to remove, negated."""
        if self._cache is not None and length < self.length:
            self._cache.crop(length - self.length)
            self.length = length
