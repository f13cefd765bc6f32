"""The training loop that all three models share, bounded by minutes."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how hard: the rate rises at once, stays, and falls to nearly zero over the last part (`fall`).

    `batch` counts windows a step; `rate` is AdamW's, which Muon's updates are matched to.
    """

    minutes: float
    rate: float
    batch: int = 8
    fall: float = 0.5
    weight_decay: float = 0.05

    def factor(self, progress: float) -> float:
        """Share of the peak rate at `progress` (0..1)."""
        rise = min(1.0, progress / 0.04)
        drop = 1.0 if progress < 1 - self.fall else max(0.0, (1 - progress) / self.fall)
        return rise * (0.02 + 0.98 * drop)

    def scaled(self, factor: float) -> Schedule:
        """The same for `factor` times as many minutes."""
        return replace(self, minutes=self.minutes * factor)


def fit(
    model: nn.Module,
    batch: Callable[[], torch.Tensor],
    loss: Callable[[torch.Tensor, float], torch.Tensor],
    schedule: Schedule,
    *,
    name: str,
) -> None:
    """Train in place: Muon for the matrices of the blocks, AdamW for all else, bf16 autocast.

    Args:
        batch: Gives (size, length + 1) token ids.
        loss: From such ids and the progress (0..1) to a scalar.
        name: What the lines on stderr call it, one for every fiftieth step.
    """
    matrices = [p for key, p in model.named_parameters() if p.ndim == 2 and ".layers." in key]
    rest = [p for key, p in model.named_parameters() if p.ndim != 2 or ".layers." not in key]
    optimizers = [
        torch.optim.Muon(
            matrices, lr=schedule.rate, weight_decay=schedule.weight_decay, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(rest, lr=schedule.rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]
    model.train()
    device = next(model.parameters()).device
    started, tokens, step, smooth = time.monotonic(), 0, 0, math.nan
    while (elapsed := (time.monotonic() - started) / 60) < schedule.minutes:
        progress = elapsed / schedule.minutes
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate * schedule.factor(progress)
        ids = batch().to(device)
        with torch.autocast(device.type, torch.bfloat16):
            value = loss(ids, progress)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step, tokens = step + 1, tokens + ids.numel()
        smooth = value.item() if math.isnan(smooth) else 0.95 * smooth + 0.05 * value.item()
        if step % 50 == 0:
            minutes = (time.monotonic() - started) / 60
            sys.stderr.write(
                f"{name}: {minutes:5.1f} of {schedule.minutes:.0f} min, step {step}, {tokens / 1e6:.2f} M tokens, "
                f"{tokens / minutes / 60:.0f}/s, loss {smooth:.4f}\n"
            )
            sys.stderr.flush()
    model.eval()
