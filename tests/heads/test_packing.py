"""Weights laid out anew for short queries: the same rows, each copy once, and none that is out of date."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from heads.engines import choice, packing
from heads.engines.captured import QUERY_LENGTHS, CapturedLevel
from heads.engines.choice import level_for
from heads.engines.packing import SEVERAL, packs
from tests.heads.models import tiny

TEXT = [5, 1, 8, 3, 44, 17, 60, 2, 9]

pytestmark = pytest.mark.skipif(
    not packs(torch.float32), reason="this processor multiplies by no packed weights"
)


def level_of(model: PreTrainedModel, **options: Any) -> CapturedLevel:
    level = CapturedLevel(model, name="it", **options)
    level.begin()
    level.feed(TEXT[:2], 1)
    return level


def matrices(model: nn.Module) -> int:
    """Bytes of the weights that rows are multiplied by."""
    weights = {module.weight for module in model.modules() if isinstance(module, (nn.Linear, Conv1D))}
    return sum(weight.nbytes for weight in weights)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3", "gpt2"])
def test_every_weight_of_a_model_is_packed_and_its_rows_are_the_same(family: str) -> None:
    """
    With biases and without, in either order of rows and columns: rows differ by rounding alone.
    """
    packed, stepped = level_of(tiny(family)), level_of(tiny(family), recorded=False)

    shown, expected = (level.feed(TEXT[2:8], 6) for level in (packed, stepped))

    assert torch.allclose(shown.logits, expected.logits, atol=1e-4)
    assert torch.allclose(shown.hidden, expected.hidden, atol=1e-4)
    assert packed._copies is not None
    biases = sum(weight.nbytes for weight in packed.model.parameters() if weight.dim() == 1)
    assert 0 <= packed._copies.nbytes - matrices(packed.model) <= biases
    assert packed.refusal is None


def test_a_copy_serves_all_lengths_and_capacities() -> None:
    """
    Recording for more of them takes no more copies.
    """
    level = level_of(tiny())
    assert level._copies is not None
    level.feed(TEXT[2:5], 3)
    once = level._copies.nbytes
    level.feed(TEXT, 9)
    level.begin(700)
    level.feed(TEXT[:2], 1)
    level.feed(TEXT, 9)
    level.feed(TEXT[:4], 4)

    assert level._copies.nbytes == once > 0


def test_one_row_is_multiplied_by_the_weight_as_it_is() -> None:
    """
    In float32 nothing is copied for it; in bfloat16, where that is faster too, everything is.
    """
    single, half = level_of(tiny()), tiny().bfloat16()
    single.feed(TEXT[2:3], 1)
    assert single._copies is not None
    assert single._copies.nbytes == 0
    if packs(torch.bfloat16):
        level = level_of(half)
        level.feed(TEXT[2:3], 1)
        assert level._copies is not None
        assert level._copies.nbytes == matrices(half)


def test_a_weight_that_is_trained_on_is_copied_again() -> None:
    """
    After a step of an optimizer the next text is that of the model as it is now.
    """
    model = tiny()
    level = level_of(model)
    before = level.feed(TEXT[2:8], 6).logits.clone()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)

    level.begin()
    level.feed(TEXT[:2], 1)
    after = level.feed(TEXT[2:8], 6).logits

    assert torch.allclose(after, level_of(model, recorded=False).feed(TEXT[2:8], 6).logits, atol=1e-3)
    assert not torch.allclose(after, before, atol=1e-2)


def test_forgetting_a_level_lets_go_of_its_packs() -> None:
    """
    They are made again when the level is used again.
    """
    level = level_of(tiny())
    level.feed(TEXT[2:8], 6)
    level.forget()
    assert level._copies is not None
    assert level._copies.nbytes == 0

    level.begin()
    level.feed(TEXT[:2], 1)
    level.feed(TEXT[2:8], 6)

    assert level._copies.nbytes > 0


def test_a_machine_that_copies_nothing_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Its recordings do what their steps do, bit for bit.
    """
    monkeypatch.setattr(packing, "packs", lambda _dtype: False)
    packed, stepped = level_of(tiny()), level_of(tiny(), recorded=False)

    assert torch.equal(packed.feed(TEXT[2:8], 6).logits, stepped.feed(TEXT[2:8], 6).logits)
    assert packed._copies is not None
    assert packed._copies.nbytes == 0


def test_of_a_large_model_one_token_is_read_as_three_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Weights that no cache keeps take their time to arrive, and packed they arrive faster; in float32 alone.
    """
    small = level_for(tiny(), name="it", engine="captured", top=True)
    monkeypatch.setattr(choice, "CACHED_BYTES", 0)
    large = level_for(tiny(), name="it", engine="captured", top=True)
    half = level_for(tiny().bfloat16(), name="it", engine="captured", top=False)

    lengths = [level.query_lengths for level in (small, large, half) if isinstance(level, CapturedLevel)]
    assert lengths == [QUERY_LENGTHS, QUERY_LENGTHS[1:], QUERY_LENGTHS]
    assert QUERY_LENGTHS[:2] == (1, SEVERAL)
