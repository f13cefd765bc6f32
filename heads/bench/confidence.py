"""What people use who have no head: how sure the model is of its next token."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel


class Confidence:
    """Takes the largest probability of a model's own next row for the probability of acceptance, without training.

    Args:
        model: Its output layer is applied to its last hidden states once more; what a family does to logits after
            that is left out.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._output = model.get_output_embeddings()

    @torch.inference_mode()
    def acceptance(self, hidden: Tensor) -> Tensor:
        """(n, hidden) -> (n,), float32."""
        logits: Tensor = self._output(hidden)
        return logits.float().softmax(dim=-1).amax(dim=-1)
