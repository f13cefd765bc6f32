"""How good a head is on prompts that it was not trained on, as one document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch

from heads.head import AcceptancePredictionHead
from heads.training.calibrating import calibrated
from heads.training.labelling import Text, text_examples
from heads.training.pair import Pair
from heads.training.quality import (
    area_under_curve,
    brier_score,
    expected_calibration_error,
    reliability,
)
from heads.training.steps import Bar, in_runs
from heads.training.survival import Drafts, draft
from heads.training.texts import continuations, end_tokens_of
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
        says which. `ece_token` is that of single tokens, `ece_raw` and `ece_token_raw` are by raw numbers.
    """
    end_tokens = end_tokens_of(pair.target, pair.tokenizer)
    head = head.to(pair.device)
    columns: list[list[torch.Tensor]] = []
    drafts: list[Drafts] = []
    by_length = sorted(range(len(prompts)), key=lambda one: (len(prompts[one]), one))
    with bar(len(prompts), "prompts") as told, torch.no_grad():
        done = 0
        for few in in_runs(by_length, batch_size):
            said = continuations(
                pair.target,
                [prompts[one] for one in few],
                uniform=torch.stack([uniform_numbers(seed, "text", one, max_new_tokens) for one in few]),
                end_tokens=end_tokens,
                warper=LAW,
            )
            texts = [
                Text(prompt=one, start=len(prompts[one]), ids=torch.tensor(ids))
                for one, ids in zip(few, said, strict=True)
            ]
            found, _ = text_examples(pair, texts, new_tokens=max_new_tokens, seed=seed, warper=LAW)
            logit = head.logit(found.hidden).cpu()
            columns.append([logit, found.acceptance, found.max_probability, found.entropy])
            drafts.append(_drafts(pair, head, texts, end_tokens=end_tokens, seed=seed))
            done += len(few)
            told(done)
    logit, acceptance, largest, entropy = (torch.cat(column) for column in zip(*columns, strict=True))
    return _report(head, logit, acceptance, Drafts.joined(drafts)) | {
        "prompts": len(prompts),
        "temperature": LAW.temperature,
        "baselines": {
            "max_probability": {"auc": area_under_curve(largest, acceptance)},
            "entropy": {"auc": area_under_curve(-entropy, acceptance)},
        },
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
        "calibration": None if head.calibration is None else head.calibration.model_dump(),
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
