"""How good a head is on prompts that it was not trained on, as one document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch

from heads.head import AcceptancePredictionHead
from heads.outlooks import read_odds
from heads.training.calibrating import calibrated
from heads.training.labelling import Text
from heads.training.pair import Pair
from heads.training.quality import (
    area_under_curve,
    brier_score,
    expected_calibration_error,
    reliability,
)
from heads.training.reading import read_texts
from heads.training.steps import Bar
from heads.training.survival import Drafts, draft
from heads.training.texts import end_tokens_of
from heads.training.warper import Warper, uniform_numbers

DRAFT_LENGTH: Final = 8
DRAFTS_PER_TEXT: Final = 4
LAW: Final = Warper()  # a head is judged at temperature 1, whatever it was trained at


def judge_head(
    pair: Pair,
    head: AcceptancePredictionHead,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    seed: int,
    batch_size: int,
    bar: Bar,
) -> dict[str, Any]:
    """Let the target continue every prompt, and ask the head about drafted tokens and whole drafts.

    A token counts as accepted with the probability that the target accepts it, and as rejected with the rest. Tokens
    are read as for training, each after its clean prefix. Survival is that of whole drafts, each token of which is
    read after the drafted ones before it.

    Args:
        pair: Source and target of the head.
        head: With its calibration, if it has one.
        prompts: Token ids.
        max_new_tokens: How many tokens the target may say after each.
        seed: Of all draws.
        batch_size: Prompts at a time.
        bar: Shows how far it is.

    Returns:
        `ece` is of survival, by calibrated numbers where the head has a calibration, else by raw ones; `calibrated`
        says which. `ece_token` is that of single tokens, `ece_raw` and `ece_token_raw` are by raw numbers;
        `with_confidence` is of single tokens by head and confidence together, None where that was not fitted.
    """
    end_tokens = end_tokens_of(pair.target, pair.tokenizer)
    head = head.to(pair.device)
    columns: list[list[torch.Tensor]] = []
    drafts: list[Drafts] = []
    reading = read_texts(
        pair,
        prompts,
        max_new_tokens=max_new_tokens,
        seed=seed,
        batch_size=batch_size,
        warper=LAW,
        bar=bar,
    )
    with torch.no_grad():
        for texts, found, _ in reading:
            logit = head.logit(found.hidden).cpu()
            columns.append([logit, found.acceptance, found.confidence, found.entropy])
            drafts.append(_drafts(pair, head, texts, end_tokens=end_tokens, seed=seed))
    logit, acceptance, confidence, entropy = (torch.cat(column) for column in zip(*columns, strict=True))
    return _report(head, logit, acceptance, Drafts.joined(drafts)) | {
        "with_confidence": _together(head, logit, acceptance, confidence),
        "prompts": len(prompts),
        "temperature": LAW.temperature,
        "baselines": {
            "max_probability": {"auc": area_under_curve(confidence, acceptance)},
            "entropy": {"auc": area_under_curve(-entropy, acceptance)},
        },
    }


def _together(
    head: AcceptancePredictionHead,
    logit: torch.Tensor,
    acceptance: torch.Tensor,
    confidence: torch.Tensor,
) -> dict[str, float] | None:
    """What head and confidence are worth together, where the head has an outlook for sampling."""
    outlook = None if head.calibration is None else head.calibration.sampled
    if outlook is None:
        return None
    numbers = torch.sigmoid(read_odds(outlook, logit, confidence))
    return {
        "auc": area_under_curve(numbers, acceptance),
        "ece": expected_calibration_error(numbers, acceptance),
    }


def _report(
    head: AcceptancePredictionHead, logit: torch.Tensor, acceptance: torch.Tensor, drafts: Drafts
) -> dict[str, Any]:
    raw = torch.sigmoid(logit)
    token = raw if head.calibration is None else calibrated(logit, head.calibration)
    survival, predicted = drafts.survival(), drafts.predicted(head.calibration)
    return {
        "positions": len(acceptance),
        "base_rate": float(acceptance.mean()),
        "auc": area_under_curve(logit, acceptance),
        "brier": brier_score(token, acceptance),
        "brier_raw": brier_score(raw, acceptance),
        "calibrated": head.calibration is not None,
        "calibration": None if head.calibration is None else head.calibration.model_dump(exclude_none=True),
        "ece": expected_calibration_error(predicted, survival),
        "ece_token": expected_calibration_error(token, acceptance),
        "ece_raw": expected_calibration_error(drafts.predicted(None), survival),
        "ece_token_raw": expected_calibration_error(raw, acceptance),
        "drafts": {
            "count": len(drafts.drafted),
            "length": drafts.drafted.shape[1],
            "survival_by_place": drafts.by_place(),
        },
        "histograms": {
            "survival": reliability(predicted, survival),
            "token": reliability(token, acceptance),
            "token_raw": reliability(raw, acceptance),
        },
    }


def _drafts(
    pair: Pair,
    head: AcceptancePredictionHead,
    texts: Sequence[Text],
    *,
    end_tokens: frozenset[int],
    seed: int,
) -> Drafts:
    """Drafts from a few places of each text, spread evenly over what the target said."""
    prefixes, numbers = [], []
    for one in texts:
        new = len(one.ids) - one.start
        for count in range(DRAFTS_PER_TEXT):
            prefixes.append(one.ids[: one.start + new * count // DRAFTS_PER_TEXT].tolist())
            numbers.append(uniform_numbers(seed, f"draft {count}", one.prompt, DRAFT_LENGTH))
    return draft(pair, head, prefixes, uniform=torch.stack(numbers), end_tokens=end_tokens, warper=LAW)
