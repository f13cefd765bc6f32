"""Texts that the target says after prompts, and what source and target make of each of their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from heads.training.examples import Examples
from heads.training.labelling import Text, TwoModels, text_examples
from heads.training.steps import Bar, in_runs
from heads.training.texts import continuations, end_tokens_of
from heads.training.warper import Warper, uniform_numbers


def read_texts(
    pair: TwoModels,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    seed: int,
    batch_size: int,
    warper: Warper,
    bar: Bar,
    what: str = "prompts",
) -> Iterator[tuple[list[Text], Examples, torch.Tensor]]:
    """Texts, a few at a time, those of like length together; with their examples, and the prompt of each (n,).

    All of it is on the CPU. Tokens are read as for training, each after its clean prefix.

    Args:
        pair: Source and target.
        prompts: Token ids.
        max_new_tokens: How many tokens the target may say after each.
        seed: Of all draws.
        batch_size: Prompts at a time.
        warper: How both models' logits become rows.
        bar: Shows how far it is.
        what: What the bar says.
    """
    end_tokens = end_tokens_of(pair.target, pair.tokenizer)
    by_length = sorted(range(len(prompts)), key=lambda one: (len(prompts[one]), one))
    with bar(len(prompts), what) as told:
        done = 0
        for few in in_runs(by_length, batch_size):
            said = continuations(
                pair.target,
                [prompts[one] for one in few],
                uniform=torch.stack([uniform_numbers(seed, "text", one, max_new_tokens) for one in few]),
                end_tokens=end_tokens,
                warper=warper,
            )
            texts = [
                Text(prompt=one, start=len(prompts[one]), ids=torch.tensor(ids))
                for one, ids in zip(few, said, strict=True)
            ]
            yield texts, *text_examples(pair, texts, new_tokens=max_new_tokens, seed=seed, warper=warper)
            done += len(few)
            told(done)
