"""A chain is loaded with room for the prompts that are to be measured, and for no more."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

import registry
from heads.bench.loading import load_for
from heads.bench.prompts import BenchPrompt
from heads.memory import Memory
from registry.errors import UsageError

PROMPTS = [BenchPrompt(name=str(lines), category="python", text="x = 1\n" * lines) for lines in (2, 20, 5)]
MOST_DRAFTED = 11


def load(max_new_tokens: int, memories: list[Memory | None]) -> list[list[int]]:
    """One model, on a CPU; what it said of memory, and the prompts' token ids."""
    _, ids = load_for(
        registry.resolve_pipeline("pico-little", "pico-little"),
        PROMPTS,
        max_new_tokens=max_new_tokens,
        max_draft=MOST_DRAFTED,
        device="cpu",
        said=memories.append,
    )
    return ids


def test_there_is_room_for_the_longest_prompt_and_its_text() -> None:
    """
    Not for what the models were made for, nor for the shorter prompts alone; and for drafts as long as were asked for.
    """
    memories: list[Memory | None] = []

    ids = load(7, memories)

    assert [(one.positions, one.max_draft) for one in memories if one is not None] == [
        (max(map(len, ids)) + 7, MOST_DRAFTED)
    ]


def test_what_is_recommended_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The option counts new tokens, the room those of the prompt, too: so many fit, and one more does not.
    """
    memories: list[Memory | None] = []
    load(300, memories)
    memory = memories[0]
    assert memory is not None
    monkeypatch.setattr("heads.placement.free_bytes", lambda _: memory.needed_bytes)

    with pytest.raises(UsageError) as caught:
        load(700, memories)

    said = re.search(r"--max-new-tokens (\d+)\.$", str(caught.value))
    assert said is not None
    assert int(said.group(1)) == 300
    load(300, memories)
    with pytest.raises(UsageError, match="needs"):
        load(301, memories)


def test_no_text_is_recommended_that_a_prompt_does_not_fit_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where there is room for the longest prompt alone, in the smallest dtype, fewer new tokens do not help.
    """
    memories: list[Memory | None] = []
    ids = load(300, memories)
    memory = memories[0]
    assert memory is not None
    alone = replace(memory, dtype=torch.bfloat16, positions=max(map(len, ids)))
    monkeypatch.setattr("heads.placement.free_bytes", lambda _: alone.needed_bytes)

    with pytest.raises(UsageError, match="Nothing was loaded") as caught:
        load(300, memories)

    assert "--max-new-tokens" not in str(caught.value)
