"""Prompts as token ids, before anything is measured with them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from heads.bench.prompts import BenchPrompt
from heads.cascade import Cascade
from heads.fitting import check_length
from heads.prompt import prompt_ids
from registry.errors import GenerationError, UsageError


def encoded(
    prompts: Sequence[BenchPrompt], cascade: Cascade, *, max_new_tokens: int, chat: bool = False
) -> list[list[int]]:
    """Token ids of each prompt, all of which leave room for the new ones: else a run would end at one of them.

    Args:
        prompts: Whose names are told.
        cascade: Its tokenizer, and its models' positions.
        max_new_tokens: Of each text.
        chat: Each prompt is a user's message, by the tokenizer's chat template.

    Raises:
        UsageError: one has no room; its name is told.
        GenerationError: the tokenizer has no chat template, or makes no tokens of a text.
    """
    found = []
    for one in prompts:
        text = [{"role": "user", "content": one.text}] if chat else one.text
        ids = prompt_ids(text, cascade.tokenizer, vocab_size=cascade.vocab_size)
        try:
            check_length(cascade.models, cascade.names, prompt=len(ids), max_new_tokens=max_new_tokens)
        except GenerationError as error:
            raise UsageError(f"Prompt {one.name!r} does not fit: {error}") from error
        found.append(ids)
    return found


def digest_of(prompts: Sequence[Sequence[int]]) -> str:
    """One sha256 over all token ids: names and categories alone do not tell which texts were decoded."""
    told = "\n".join(" ".join(map(str, ids)) for ids in prompts)
    return hashlib.sha256(told.encode()).hexdigest()
