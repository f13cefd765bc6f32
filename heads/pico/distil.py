"""Small models after a large one's rows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers import LlamaForCausalLM


def language_loss(model: LlamaForCausalLM) -> Callable[[torch.Tensor, float], torch.Tensor]:
    """Cross-entropy of the next token, nats per token, from (batch, length + 1) ids."""

    def loss(ids: torch.Tensor, progress: float) -> torch.Tensor:  # noqa: ARG001  (the loop hands it to every loss)
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())

    return loss


def distillation_loss(
    student: LlamaForCausalLM, teacher: LlamaForCausalLM
) -> Callable[[torch.Tensor, float], torch.Tensor]:
    """From the KL divergence of the rows at first, to their total variation at the end.

    One less the total variation is the acceptance of speculative sampling itself, sum of min(p, q); the KL
    divergence finds the region where its gradient is of use.
    """

    def loss(ids: torch.Tensor, progress: float) -> torch.Tensor:
        with torch.no_grad():
            taught = torch.log_softmax(teacher(input_ids=ids[:, :-1], use_cache=False).logits.float(), dim=-1)
        learnt = torch.log_softmax(student(input_ids=ids[:, :-1], use_cache=False).logits.float(), dim=-1)
        taught_probs = taught.exp()
        late = min(1.0, max(0.0, (progress - 0.4) / 0.2))
        divergence = (taught_probs * (taught - learnt)).sum(dim=-1).mean()
        if late == 0.0:
            return divergence
        variation = (taught_probs - learnt.exp()).abs().sum(dim=-1).mean() / 2
        return (1 - late) * divergence + late * variation

    return loss
