"""One call of a transformers causal LM that shows its last hidden state beside its logits."""

from __future__ import annotations

import inspect
import threading
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from heads.anatomy import cache_argument
from registry.errors import IncompatibleError

Mask = Tensor | dict[str, Tensor] | None


class Forward:
    """A model's own forward: whatever a family does to its logits (soft caps, scales) is done.

    Args:
        model: In eval mode.
        name: What messages call it.

    Raises:
        IncompatibleError: it shows no last hidden state.
    """

    def __init__(self, model: PreTrainedModel, name: str) -> None:
        self.model = model
        self._options = inspect.signature(model.forward).parameters
        self._cache_argument = cache_argument(model)
        self._body: nn.Module = model.base_model
        # some models call their decoder past the body (OPT): it shows the last hidden state then
        decoder = model.get_decoder()
        self._shows: list[nn.Module] = (
            [self._body] if decoder in (self._body, model) else [decoder, self._body]
        )
        self._embedding: nn.Module = model.get_input_embeddings()
        if self._body is model:
            raise IncompatibleError(
                subject=name,
                field="body",
                expected="a base model that shows its last hidden state",
                found=type(model).__name__,
                next_step="A causal LM of transformers has one.",
            )

    @property
    def device(self) -> torch.device:
        """Where token ids go: a model may lie on several devices."""
        return next(self._embedding.parameters()).device

    def __call__(
        self, ids: Tensor, positions: Tensor, cache: Cache, *, rows: int, mask: Mask = None
    ) -> tuple[Tensor, Tensor]:
        """Feed ids (n,) at positions (n,); logits (rows, vocab) and hidden states (rows, hidden) of the last ones.

        Without a mask the model makes its own: there is one sequence and no padding.
        """
        call: dict[str, Any] = {"input_ids": ids[None], self._cache_argument: cache, "use_cache": True}
        if "position_ids" in self._options:
            call["position_ids"] = positions[None]
        if "logits_to_keep" in self._options:
            call["logits_to_keep"] = rows
        if mask is not None:
            call["attention_mask"] = mask
        seen: list[Tensor] = []
        thread = threading.get_ident()

        def see(_module: nn.Module, _inputs: object, output: Any) -> None:
            if threading.get_ident() == thread:  # another cascade may run this model in another thread
                seen.append(output[0])

        handles = [module.register_forward_hook(see) for module in self._shows]
        try:
            logits = self.model(**call, return_dict=True).logits
        finally:
            for handle in handles:
                handle.remove()
        return logits[0, -rows:], seen[-1][0, -rows:]
