"""Texts of a chain's target, along which all its models are traced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from heads.cascade import Cascade
from registry.planning.law import Law


@dataclass(frozen=True, kw_only=True)
class Text:
    """Token ids of a prompt and of what the target said after it."""

    prompt: tuple[int, ...]
    said: tuple[int, ...]

    @property
    def ids(self) -> list[int]:
        """All of them."""
        return [*self.prompt, *self.said]


def target_texts(
    cascade: Cascade,
    prompts: Sequence[Sequence[int]],
    law: Law,
    *,
    max_new_tokens: int,
    seed: int = 0,
    told: Callable[[], None] = lambda: None,
) -> list[Text]:
    """Each prompt continued by the chain's last model alone; no end token ends it, so that all are of one length.

    The n-th prompt's text is drawn with the seed `seed` + n. `told` is called after each.
    """
    alone = cascade.part([len(cascade.models) - 1])
    texts: list[Text] = []
    for number, prompt in enumerate(prompts):
        out = alone.generate(
            list(prompt),
            max_new_tokens=max_new_tokens,
            temperature=law.temperature,
            top_k=law.top_k,
            top_p=law.top_p,
            min_p=law.min_p,
            seed=seed + number,
            eos_token_id=[],
        )
        texts.append(Text(prompt=tuple(prompt), said=tuple(out.token_ids)))
        told()
    return texts


def texts_key(texts: Sequence[Text], law: Law) -> str:
    """Tells texts apart by their token ids and the law they were drawn by: 16 hexadecimal digits."""
    told = json.dumps([law.key, *([text.prompt, text.said] for text in texts)])
    return hashlib.sha256(told.encode()).hexdigest()[:16]
