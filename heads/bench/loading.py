"""A chain loaded for prompts that are known: with room for the longest of them and its text, and for no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from heads.bench.encoded import encoded
from heads.bench.prompts import BenchPrompt
from heads.cascade import Cascade
from heads.memory import Memory
from heads.placement import Remedies
from heads.runtime import load_cascade, load_tokenizer, prompt_length

if TYPE_CHECKING:
    from registry.pipeline import Pipeline

Said = Callable[[Memory | None], None]


def load_for(
    pipeline: Pipeline,
    prompts: Sequence[BenchPrompt],
    *,
    max_new_tokens: int,
    max_draft: int,
    device: str | None = None,
    dtype: str | None = None,
    engine: str | None = None,
    said: Said = lambda _: None,
) -> tuple[Cascade, list[list[int]]]:
    """The chain, and the prompts' token ids.

    Args:
        pipeline: A resolved chain.
        prompts: One at least.
        max_new_tokens: Of each text.
        max_draft: Tokens that a level will draft at most.
        device, dtype, engine: As for `load_cascade`.
        said: As its `told`.

    Raises:
        SpecregError: as `load_cascade` and `encoded` raise.
    """
    tokenizer = load_tokenizer(pipeline)
    longest = max(prompt_length(one.text, tokenizer) for one in prompts)
    cascade = load_cascade(
        pipeline,
        device=device,
        dtype=dtype,
        engine=engine,
        max_length=longest + max_new_tokens,
        max_draft=max_draft,
        remedies=Remedies.of_prompts(longest),
        tokenizer=tokenizer,
        told=said,
    )
    return cascade, encoded(prompts, cascade, max_new_tokens=max_new_tokens)
