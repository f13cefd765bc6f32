"""A head that is there already, held against texts of its target: its calibration anew, and what it is worth.

Sampled texts tell of sampling, greedy texts of greedy decoding: a greedy text repeats itself more, and what is drafted
in it is kept more often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch

from heads.head import AcceptancePredictionHead
from heads.outlooks import next_odds, read_odds
from heads.training.calibrating import calibrated, full_calibration
from heads.training.examples import Examples
from heads.training.features import Positions
from heads.training.labelling import TwoModels
from heads.training.quality import area_under_curve, expected_calibration_error
from heads.training.reading import read_texts
from heads.training.steps import Bar
from heads.training.warper import Warper
from registry.errors import UsageError
from registry.records import Calibration, Outlook

SAMPLED: Final = "sampled"
GREEDY: Final = "greedy"
WAYS: Final = {SAMPLED: Warper(), GREEDY: Warper(temperature=0.0)}
LEAST: Final = 200  # positions of each half


@dataclass(frozen=True, kw_only=True)
class Recalibration:
    """The numbers fitted on all texts; `judged` tells for each way to draw what numbers fitted on one half of the
    prompts are worth on the other half, beside raw ones."""

    calibration: Calibration
    judged: dict[str, dict[str, Any]]


def recalibrate(
    pair: TwoModels,
    head: AcceptancePredictionHead,
    prompts: Sequence[Sequence[int]],
    *,
    mismatch_weight: float,
    max_new_tokens: int,
    seed: int,
    batch_size: int,
    bar: Bar,
) -> Recalibration:
    """Let the target continue every prompt twice, sampling and greedily, and fit what the head says to what is kept.

    Args:
        pair: Source and target of the head.
        head: Its present calibration has no part in it.
        prompts: Token ids, two at least.
        mismatch_weight: Weight on rejection that it was trained with; where the fit begins.
        max_new_tokens: How many tokens the target may say after each prompt.
        seed: Of all draws.
        batch_size: Prompts at a time.
        bar: Shows how far it is.

    Raises:
        UsageError: too few positions to tell.
    """
    found: dict[str, Calibration] = {}
    judged: dict[str, dict[str, Any]] = {}
    for way in WAYS:
        every, prompt = _read(
            pair, prompts, way, max_new_tokens=max_new_tokens, seed=seed, batch_size=batch_size, bar=bar
        )
        halves = [every.of(prompt % 2 == one) for one in (0, 1)]
        least = min(map(len, halves))
        if least < LEAST:
            raise UsageError(
                f"Too few tokens to calibrate by: expected at least {LEAST} in each half of the prompts, got {least} "
                f"in the smaller one, of {len(every):,} tokens of {len(prompts):,} {way} texts. Give more prompts, or "
                "a larger --max-new-tokens."
            )
        fit = partial(_fitted, head.to(pair.device), mismatch_weight=mismatch_weight, way=way)
        judged[way] = _judged(head, halves, [fit(half) for half in halves[::-1]], greedy=way == GREEDY)
        found[way] = fit(every)
    both = found[SAMPLED].model_copy(update={"greedy": found[GREEDY].greedy})
    return Recalibration(calibration=both, judged=judged)


def greedy_outlook(
    pair: TwoModels,
    head: AcceptancePredictionHead,
    prompts: Sequence[Sequence[int]],
    *,
    mismatch_weight: float,
    max_new_tokens: int,
    seed: int,
    batch_size: int,
    bar: Bar,
) -> Outlook | None:
    """What is to be made of head and confidence in greedy texts, by such texts; None where they hold too few tokens.

    Takes what `recalibrate` does.
    """
    every, _ = _read(
        pair, prompts, GREEDY, max_new_tokens=max_new_tokens, seed=seed, batch_size=batch_size, bar=bar
    )
    if len(every) < 2 * LEAST:
        return None
    return _fitted(head.to(pair.device), every, mismatch_weight=mismatch_weight, way=GREEDY).greedy


def _read(
    pair: TwoModels,
    prompts: Sequence[Sequence[int]],
    way: str,
    *,
    max_new_tokens: int,
    seed: int,
    batch_size: int,
    bar: Bar,
) -> tuple[Examples, torch.Tensor]:
    """All examples of one way to draw, and which prompt each is of."""
    parts, numbers = [], []
    for _, examples, of in read_texts(
        pair,
        prompts,
        max_new_tokens=max_new_tokens,
        seed=seed,
        batch_size=batch_size,
        warper=WAYS[way],
        bar=bar,
        what=f"{way} texts",
    ):
        parts.append(examples)
        numbers.append(of)
    return Examples.joined(parts), torch.cat(numbers)


def _fitted(
    head: AcceptancePredictionHead, examples: Examples, *, mismatch_weight: float, way: str
) -> Calibration:
    return full_calibration(
        head, Positions.of(examples), mismatch_weight=mismatch_weight, greedy=way == GREEDY
    )


@torch.no_grad()
def _judged(
    head: AcceptancePredictionHead,
    halves: Sequence[Examples],
    fitted: Sequence[Calibration],
    *,
    greedy: bool,
) -> dict[str, Any]:
    """Each half by numbers that did not see it."""
    told: dict[str, list[torch.Tensor]] = {}
    for half, calibration in zip(halves, fitted, strict=True):
        logit = head.logit(half.hidden).cpu()
        outlook = calibration.outlook(greedy=greedy)
        said = {"raw": torch.sigmoid(logit), "calibrated": calibrated(logit, calibration)}
        if outlook is not None:
            said |= {
                "with_confidence": torch.sigmoid(read_odds(outlook, logit, half.confidence)),
                "before_reading": torch.sigmoid(next_odds(outlook, half.confidence)),
            }
        for name, numbers in {**said, "max_probability": torch.sigmoid(half.confidence)}.items():
            told.setdefault(name, []).append(numbers)
    kept = torch.cat([half.acceptance for half in halves])
    return {
        "positions": len(kept),
        "kept": float(kept.mean()),
        "by": {name: _worth(torch.cat(numbers), kept) for name, numbers in told.items()},
    }


def _worth(numbers: torch.Tensor, kept: torch.Tensor) -> dict[str, float]:
    safe = numbers.double().clamp(1e-9, 1 - 1e-9)
    return {
        "log_loss": float(torch.nn.functional.binary_cross_entropy(safe, kept.double())),
        "auc": area_under_curve(numbers, kept),
        "ece": expected_calibration_error(numbers, kept),
    }
