"""Scale and bias that make a head's numbers probabilities.

A head that was trained with weight w on rejection has every logit shifted by -log w, which no temperature undoes: a
scale and a bias on the logit do. They are fitted on held-out prompts, by the likelihood.
"""

from __future__ import annotations

import math
from typing import Final

import torch

from registry.records import Calibration

STEPS: Final = 50
PRIOR: Final = 1.0  # how many positions the starting point weighs: it decides where the labels do not


def fitted_calibration(
    logit: torch.Tensor, acceptance: torch.Tensor, *, mismatch_weight: float
) -> Calibration:
    """The scale s and bias b under which sigmoid(s * logit + b) makes the labels likeliest.

    Newton's method on a convex function of two numbers. A faint pull to s = 1, b = log w, which is what training
    with weight w should need, keeps them finite where all labels are 0 or 1.

    Args:
        logit: (n,), raw, log P(accepted) - log P(rejected).
        acceptance: (n,), in 0..1.
        mismatch_weight: Weight on rejection that the head was trained with.
    """
    x, a = logit.double().cpu(), acceptance.double().cpu()
    design = torch.stack([x, torch.ones_like(x)], dim=-1)
    start = torch.tensor([1.0, math.log(mismatch_weight)], dtype=torch.double)
    found = start.clone()

    def cost(at: torch.Tensor) -> float:
        z = design @ at
        likelihood = torch.nn.functional.softplus(z) - a * z
        return float(likelihood.sum() + PRIOR / 2 * ((at - start) ** 2).sum())

    for _ in range(STEPS):
        predicted = torch.sigmoid(design @ found)
        gradient = design.T @ (predicted - a) + PRIOR * (found - start)
        curved = (design * (predicted * (1 - predicted))[:, None]).T @ design
        step = torch.linalg.solve(curved + PRIOR * torch.eye(2, dtype=torch.double), gradient)
        now, length = cost(found), 1.0
        while cost(found - length * step) > now and length > 1e-6:
            length /= 2
        found = found - length * step
        if float(step.abs().max()) < 1e-10:
            break
    return Calibration(scale=float(found[0]), bias=float(found[1]))


def calibrated(logit: torch.Tensor, calibration: Calibration) -> torch.Tensor:
    """sigmoid(scale * logit + bias), of the logit's shape."""
    return torch.sigmoid(calibration.scale * logit + calibration.bias)
