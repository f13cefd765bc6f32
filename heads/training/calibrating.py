"""What makes a head's numbers probabilities: scale and bias, and the outlook by head and confidence.

A head that was trained with weight w on rejection has every logit shifted by -log w, which no temperature undoes: a
scale and a bias on the logit do. They are fitted on held-out prompts, by the likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch

from heads.head import AcceptancePredictionHead
from heads.training.features import Positions
from registry.records import Calibration, Outlook

STEPS: Final = 50
BATCH: Final = 4096
WORTH_ASKING: Final = 0.003  # nats a token: less does not pay for the question
PRIOR: Final = 1.0  # how many positions the starting point weighs: it decides where the labels do not


def fitted_calibration(
    logit: torch.Tensor, acceptance: torch.Tensor, *, mismatch_weight: float
) -> Calibration:
    """The scale s and bias b under which sigmoid(s * logit + b) makes the labels likeliest.

    Args:
        logit: (n,), raw, log P(accepted) - log P(rejected).
        acceptance: (n,), in 0..1.
        mismatch_weight: Weight on rejection that the head was trained with.
    """
    scale, bias = likeliest(columns(logit), acceptance, start=(1.0, math.log(mismatch_weight)))
    return Calibration(scale=scale, bias=bias)


def full_calibration(
    head: AcceptancePredictionHead, held_out: Positions, *, mismatch_weight: float, greedy: bool
) -> Calibration:
    """Scale and bias of the head alone, and what is to be made of it and of the model's confidence together.

    One text tells of both ways to draw: which token greedy decoding would have drafted, and whether it had been kept,
    stands at every position. What the head says of it is known where that token was drawn.

    Args:
        head: Trained.
        held_out: Positions that it did not learn from.
        mismatch_weight: Weight on rejection that the head was trained with.
        greedy: Whether the text was drawn greedily, which tells nothing of sampling.
    """
    device = head.output.weight.device
    with torch.no_grad():
        parts = [head.logit(part.hidden.to(device)).cpu() for part in held_out.batches(BATCH)]
    logit, labels = torch.cat(parts), held_out.labels
    confidence, acceptance, drafted = labels["confidence"], labels["acceptance"], labels["likeliest"]
    agreed = labels["agreed"].float()
    exact = fitted_calibration(logit, acceptance, mismatch_weight=mismatch_weight)
    own = Calibration(scale=_rounded(exact.scale), bias=_rounded(exact.bias))
    of_drafted = _outlook(
        own, (columns(logit[drafted], confidence[drafted]), agreed[drafted]), (columns(confidence), agreed)
    )
    of_drawn = None
    if not greedy:
        of_drawn = _outlook(own, (columns(logit, confidence), acceptance), (columns(confidence), acceptance))
    return own.model_copy(update={"greedy": of_drafted, "sampled": of_drawn})


Told = tuple[torch.Tensor, torch.Tensor]
"""What is known of positions, (n, k), and how likely each is kept, (n,)."""


def _outlook(own: Calibration, read: Told, drawn: Told) -> Outlook:
    """From tokens that were read, and from tokens just drawn.

    Where the head tells next to nothing that confidence has not told, it gets no weight: then it is not asked at all.
    """
    design, kept = read
    weights = likeliest(design, kept, start=(own.scale, 0.0, own.bias))
    alone = likeliest(design[:, 1:], kept, start=(0.5, 0.0))
    if log_loss(design[:, 1:], alone, kept) - log_loss(design, weights, kept) < WORTH_ASKING:
        weights = (0.0, *alone)
    ahead = likeliest(*drawn, start=(0.5, 0.0))
    return Outlook(**dict(zip(Outlook.model_fields, map(_rounded, (*weights, *ahead)), strict=True)))


def log_loss(design: torch.Tensor, weights: Sequence[float], labels: torch.Tensor) -> float:
    """Mean negative log-likelihood of labels (n,) under sigmoid(design @ weights), in nats."""
    z = design @ torch.tensor(weights, dtype=torch.double)
    return float((torch.nn.functional.softplus(z) - labels.double().cpu() * z).mean())


def columns(*known: torch.Tensor) -> torch.Tensor:
    """(n, k + 1), float64: what is known of each position, and a one for the bias."""
    return torch.stack([*known, torch.ones_like(known[0])], dim=-1).double().cpu()


def likeliest(design: torch.Tensor, labels: torch.Tensor, *, start: Sequence[float]) -> tuple[float, ...]:
    """The weights w under which sigmoid(design @ w) makes the labels likeliest.

    Newton's method on a convex function. A faint pull to where it starts keeps them finite where all labels are 0 or 1.

    Args:
        design: (n, k), float64.
        labels: (n,), in 0..1.
        start: k numbers.
    """
    a = labels.double().cpu()
    begun = torch.tensor(start, dtype=torch.double)
    found = begun.clone()

    def cost(at: torch.Tensor) -> float:
        z = design @ at
        likelihood = torch.nn.functional.softplus(z) - a * z
        return float(likelihood.sum() + PRIOR / 2 * ((at - begun) ** 2).sum())

    for _ in range(STEPS):
        predicted = torch.sigmoid(design @ found)
        gradient = design.T @ (predicted - a) + PRIOR * (found - begun)
        curved = (design * (predicted * (1 - predicted))[:, None]).T @ design
        step = torch.linalg.solve(curved + PRIOR * torch.eye(len(begun), dtype=torch.double), gradient)
        now, length = cost(found), 1.0
        while cost(found - length * step) > now and length > 1e-6:
            length /= 2
        found = found - length * step
        if float(step.abs().max()) < 1e-10:
            break
    return tuple(found.tolist())


def calibrated(logit: torch.Tensor, calibration: Calibration) -> torch.Tensor:
    """sigmoid(scale * logit + bias), of the logit's shape."""
    return torch.sigmoid(calibration.scale * logit + calibration.bias)


def _rounded(weight: float) -> float:
    """Six figures tell more than the labels do."""
    return float(f"{weight:.6g}")
