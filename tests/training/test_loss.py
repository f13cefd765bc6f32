"""The published loss, and one training step, against worked examples."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from heads.head import AcceptancePredictionHead
from heads.training.loss import acceptance_kl, acceptance_loss


def test_loss_equals_a_worked_example() -> None:
    """
    Two positions by hand: weighted cross-entropy over the sum of the weights.
    """
    logits = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]])
    acceptance = torch.tensor([1.0, 0.25])

    # position 1: 1 * ln 2; position 2: 6 * 0.75 * ln(4 / 3) + 0.25 * ln 4; weights 1 + 4.5 + 0.25
    by_hand = (math.log(2) + 4.5 * math.log(4 / 3) + 0.25 * math.log(4)) / 5.75
    assert acceptance_loss(logits, acceptance, mismatch_weight=6.0).item() == pytest.approx(by_hand, abs=1e-6)


def test_loss_is_the_published_sum_of_two_cross_entropies() -> None:
    """
    Class-weighted cross-entropy against 0 and against 1, mixed by the soft labels, over the weights' sum.
    """
    generator = torch.Generator().manual_seed(0)
    logits, acceptance = torch.randn(50, 2, generator=generator), torch.rand(50, generator=generator)
    published = nn.CrossEntropyLoss(weight=torch.tensor([6.0, 1.0]), reduction="none")
    each = [published(logits, torch.full((50,), kind)) for kind in (0, 1)]

    total = (each[0] * (1 - acceptance) + each[1] * acceptance).sum()
    expected = total / (6 * (1 - acceptance).sum() + acceptance.sum())

    assert acceptance_loss(logits, acceptance, mismatch_weight=6.0).item() == pytest.approx(
        expected.item(), abs=1e-6
    )


def test_one_step_equals_a_worked_example() -> None:
    """
    A head without blocks, one position: gradient and step of plain descent by hand.
    """
    head = AcceptancePredictionHead({"hidden_size": 1, "num_layers": 0})
    with torch.no_grad():
        head.output.weight.copy_(torch.tensor([[0.5], [-0.5]]))
        head.output.bias.zero_()

    loss = acceptance_loss(head(torch.tensor([[2.0]])), torch.tensor([0.4]), mismatch_weight=6.0)
    loss.backward()
    torch.optim.SGD(head.parameters(), lr=0.1).step()

    # logits 1 and -1; weights 6 * 0.6 and 0.4 make a target of 0.9 for class 0; gradient P0 - 0.9, times the input 2
    p0 = 1 / (1 + math.exp(-2.0))
    gradient = p0 - 3.6 / 4.0
    expected = [0.5 - 0.1 * 2 * gradient, -0.5 + 0.1 * 2 * gradient]
    assert head.output.weight.flatten().tolist() == pytest.approx(expected, abs=1e-6)
    assert head.output.bias.tolist() == pytest.approx([-0.1 * gradient, 0.1 * gradient], abs=1e-6)


def test_kl_of_a_perfect_head_is_zero_at_certain_labels_too() -> None:
    """
    Labels of 0 and 1 make no NaN, and agreeing predictions no divergence.
    """
    acceptance = torch.tensor([0.0, 1.0, 0.5])
    logits = torch.stack([torch.log(1 - acceptance + 1e-12), torch.log(acceptance + 1e-12)], dim=-1)

    assert acceptance_kl(logits, acceptance).item() == pytest.approx(0.0, abs=1e-5)
