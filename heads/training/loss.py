"""The published loss, and the divergence that the published training logs."""

from __future__ import annotations

import torch


def acceptance_loss(
    logits: torch.Tensor, acceptance: torch.Tensor, *, mismatch_weight: float
) -> torch.Tensor:
    """Cross-entropy against soft labels, rejections weighted, divided by the sum of the weights.

    Args:
        logits: (n, 2); class 1 is 'accepted'.
        acceptance: (n,), the label a in 0..1.
        mismatch_weight: Weight of rejection, w.

    Returns:
        sum(w (1 - a) * -log P0 + a * -log P1) / sum(w (1 - a) + a), a scalar.

    Source: Huang et al., SpecDec++, arXiv:2405.19715, section 4.
    """
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    rejection = mismatch_weight * (1 - acceptance)
    loss: torch.Tensor = -(rejection * log_probs[..., 0] + acceptance * log_probs[..., 1]).sum()
    return loss / (rejection + acceptance).sum()


def acceptance_kl(logits: torch.Tensor, acceptance: torch.Tensor) -> torch.Tensor:
    """Mean binary KL divergence in nats from the labels (n,) to the predictions (n, 2), unweighted."""
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    cross = -(1 - acceptance) * log_probs[..., 0] - acceptance * log_probs[..., 1]
    entropy = -torch.special.xlogy(acceptance, acceptance) - torch.special.xlogy(
        1 - acceptance, 1 - acceptance
    )
    divergence: torch.Tensor = (cross - entropy).mean()
    return divergence
