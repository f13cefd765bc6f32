"""Texts of a target, and the examples in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from heads.training.examples import Examples
from heads.training.labels import acceptance_examples
from heads.training.warper import Warper, uniform_numbers


class TwoModels(Protocol):
    """A source and a target that are loaded, of one tokenizer, on one device."""

    @property
    def source(self) -> PreTrainedModel:
        """The smaller model."""
        ...

    @property
    def target(self) -> PreTrainedModel:
        """The model that accepts or rejects."""
        ...

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The target's."""
        ...

    @property
    def device(self) -> torch.device:
        """Where both models are."""
        ...


@dataclass(frozen=True, kw_only=True)
class Text:
    """A prompt and what the target said after it: the prompt's number, where that starts, and all ids (length,)."""

    prompt: int
    start: int
    ids: torch.Tensor


def text_examples(
    pair: TwoModels,
    texts: Sequence[Text],
    *,
    new_tokens: int,
    seed: int,
    warper: Warper,
    mixing_ratio: float | None = None,
) -> tuple[Examples, torch.Tensor]:
    """Examples at every token that the target said, on the CPU, and which prompt each is of (n,).

    What counts is told by its place: an end token may be the very one that other tools pad with.

    Args:
        pair: Source and target.
        texts: Padded to one length here; what a text gets does not depend on the others.
        new_tokens: What a text may hold at most after its prompt.
        seed: Of the draws, and of what is mixed.
        warper: How logits become rows.
        mixing_ratio: Read all draws of a text in one row with such a share of its own tokens; None gives branches.
    """
    longest = max(len(one.ids) for one in texts)
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    labelled = torch.zeros(len(texts), longest, dtype=torch.bool)
    draws, mixes = torch.zeros(2, len(texts), longest, dtype=torch.float64)
    for row, one in enumerate(texts):
        length = len(one.ids)
        ids[row, :length] = one.ids
        labelled[row, one.start : length] = True
        for numbers, purpose in ((draws, "draw"), (mixes, "mix")):
            own = uniform_numbers(seed, purpose, one.prompt, new_tokens)
            numbers[row, one.start : length] = own[: length - one.start]
    mixed = None if mixing_ratio is None else mixes < mixing_ratio
    counts = labelled if mixed is None else labelled & ~mixed
    prompts = torch.tensor([one.prompt for one in texts], dtype=torch.int)
    found = acceptance_examples(
        pair.source,
        pair.target,
        ids.to(pair.device),
        labelled=labelled.to(pair.device),
        uniform=draws.to(pair.device),
        mixed=None if mixed is None else mixed.to(pair.device),
        warper=warper,
    )
    return found.on("cpu"), prompts.repeat_interleave(counts.sum(dim=1))
