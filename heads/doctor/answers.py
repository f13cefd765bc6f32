"""What heads say of drafted tokens, against what became of them: how well they rank, and which of two ranks better."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from heads.doctor.readings import EdgeReading
from heads.training.calibrating import calibrated, fitted_calibration
from heads.training.quality import area_under_curve
from registry.records import Calibration

MISMATCH_WEIGHT = 6.0  # of the published heads: where a fit begins


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Of one edge.

    kept: (n,), the probability that each drafted token is kept.
    text: (n,), which text it is of.
    logits: What each head says of it, raw, by name: (n,).
    """

    kept: Tensor
    text: Tensor
    logits: dict[str, Tensor]

    @classmethod
    def of(cls, edge: EdgeReading) -> Answers | None:
        """All that was read; None where no head was asked."""
        if not edge.kept:
            return None
        return cls(
            kept=torch.cat(edge.kept),
            text=torch.cat(edge.text),
            logits={name: torch.cat(parts) for name, parts in edge.logits.items()},
        )

    @property
    def finite(self) -> bool:
        """Whether there is anything to judge heads by."""
        return all(bool(torch.isfinite(column).all()) for column in (self.kept, *self.logits.values()))

    def ranking(self, head: str) -> float:
        """AUC: how often it puts a token that is kept above one that is not."""
        return area_under_curve(self.logits[head], self.kept)

    def ranking_error(self, draws: int) -> float:
        """The standard error that chance alone gives an AUC; draws of one place count as one."""
        kept = float(self.kept.sum()) / draws
        refused = float((1 - self.kept).sum()) / draws
        return math.sqrt((1 / max(kept, 1e-9) + 1 / max(refused, 1e-9)) / 12)

    def foreseen(self, head: str, calibration: Calibration | None) -> float:
        """The mean of its numbers."""
        logit = self.logits[head]
        return float((torch.sigmoid(logit) if calibration is None else calibrated(logit, calibration)).mean())

    def advantage(
        self, other: str, own: str, calibrations: tuple[Calibration | None, Calibration | None]
    ) -> Tensor:
        """(texts,): by how many nats `other` foresees the outcome of a text's tokens better than `own` does.

        By the numbers of both where both are calibrated, what they say of the edge's level included; else by those that
        the best scale and bias for this edge make of them, that is by their ranking.
        """
        losses = [
            self._loss(self.logits[head], calibration if None not in calibrations else None)
            for head, calibration in zip((other, own), calibrations, strict=True)
        ]
        texts = int(self.text.max()) + 1
        return torch.zeros(texts, dtype=torch.double).index_add_(0, self.text, losses[1] - losses[0])

    def _loss(self, logit: Tensor, calibration: Calibration | None) -> Tensor:
        """(n,), cross entropy in nats."""
        fit = calibration or fitted_calibration(logit, self.kept, mismatch_weight=MISMATCH_WEIGHT)
        z = fit.scale * logit.double() + fit.bias
        loss: Tensor = torch.nn.functional.softplus(z) - self.kept.double() * z
        return loss


def sureness(advantage: Tensor) -> float:
    """How many standard errors a sum over texts lies above 0; texts are drawn apart from each other."""
    count = len(advantage)
    spread = float(advantage.std()) * math.sqrt(count) if count > 1 else 0.0
    return float(advantage.sum()) / spread if spread > 0 else 0.0
