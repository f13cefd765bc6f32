"""Decoding within `torch.autocast`, as a training loop does that looks at its samples."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from heads import Cascade
from tests.heads.models import chain, random_head

PROMPT = [7, 3, 11, 2]
NEW = 12


def cascade() -> Cascade:
    """Two levels that are recorded."""
    return Cascade(chain(count=2, noise=0.05), [random_head()], engine="captured")


def within(work: Callable[[], object]) -> Callable[[], object]:
    """The same under autocast."""

    def wrapped() -> object:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return work()

    return wrapped


@pytest.mark.parametrize("order", ["first", "later", "made"])
def test_what_is_recorded_keeps_the_dtype_of_its_weights(order: str) -> None:
    """
    The text is that of any other time, whether the first text, a later one, or the cascade itself was made so.
    """

    def text(mine: Cascade) -> list[int]:
        return mine.generate(PROMPT, max_new_tokens=NEW, eos_token_id=[]).token_ids

    expected = text(cascade())
    mine = within(cascade)() if order == "made" else cascade()
    assert isinstance(mine, Cascade)
    if order == "later":
        text(mine)

    found = [within(lambda: text(mine))(), text(mine)]

    assert found == [expected] * 2
    assert not mine.refusals
