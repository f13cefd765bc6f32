"""A model whose weights change after it was loaded: what is decoded next is theirs, and nobody keeps the old ones."""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from heads import Cascade
from tests.heads.models import chain, random_head, tiny

PROMPT = [7, 3, 11, 2]
NEW = 16
STATM = Path("/proc/self/statm")


def noise(weight: torch.Tensor, scale: float = 0.3) -> torch.Tensor:
    """Something to change a weight by, the same each time."""
    return scale * torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(weight))).to(
        weight.dtype
    )


def assigned(model: PreTrainedModel) -> None:
    """Other tensors are loaded in their place."""
    model.load_state_dict(
        {name: one + noise(one) for name, one in model.state_dict().items()}, assign=True, strict=False
    )


def replaced(model: PreTrainedModel) -> None:
    """Each projection has a new parameter."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight = nn.Parameter(module.weight + noise(module.weight), requires_grad=False)


def merged(model: PreTrainedModel) -> None:
    """An adapter's product is added to some weights' data, which torch does not count as writing to them."""
    for name, module in model.named_modules():
        if name.endswith(("q_proj", "v_proj")) and isinstance(module, nn.Linear):
            rows, columns = module.weight.shape
            generator = torch.Generator().manual_seed(1)
            product = torch.randn(rows, 2, generator=generator) @ torch.randn(2, columns, generator=generator)
            module.weight.data += product


def trained(model: PreTrainedModel) -> None:
    """They are written to in place."""
    with torch.no_grad():
        for one in model.parameters():
            one.add_(noise(one))


CHANGES: list[Callable[[PreTrainedModel], None]] = [assigned, replaced, merged, trained]


@pytest.mark.parametrize("count", [1, 2], ids=["alone", "two levels"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_the_next_text_is_the_new_weights_own(change: Callable[[PreTrainedModel], None], count: int) -> None:
    """
    Recorded or copied, alone or as the target of a chain: as a cascade says that begins with them.
    """
    models = chain(count=count, noise=0.05)
    heads = [random_head() for _ in models[1:]]
    cascade = Cascade(models, heads, engine="captured")
    before = cascade.generate(PROMPT, max_new_tokens=NEW).token_ids

    change(models[-1])

    found = cascade.generate(PROMPT, max_new_tokens=NEW)
    expected = Cascade(models, heads, engine="captured").generate(PROMPT, max_new_tokens=NEW)
    assert found.token_ids == expected.token_ids != before
    assert not cascade.refusals


def test_another_dtype_is_decoded_in() -> None:
    """
    Caches of the old one are let go of.
    """
    model = tiny()
    cascade = Cascade([model], engine="captured")
    cascade.generate(PROMPT, max_new_tokens=4)

    nn.Module.to(model, torch.float64)

    found = cascade.generate(PROMPT, max_new_tokens=NEW)
    assert found.token_ids == Cascade([model], engine="eager").generate(PROMPT, max_new_tokens=NEW).token_ids


@pytest.mark.skipif(not STATM.exists(), reason="only Linux tells a process's memory there")
def test_who_lets_go_of_a_cascade_has_its_memory_back() -> None:
    """
    Of a process that decodes with one model after another torch keeps none of what was recorded for them.
    """

    def used() -> tuple[int, int]:
        model = tiny(hidden_size=512, intermediate_size=1536, num_hidden_layers=4)
        cascade = Cascade([model], engine="captured")
        cascade.generate(PROMPT, max_new_tokens=3)
        assert not cascade.refusals
        size = sum(one.nbytes for one in model.parameters())
        del cascade, model
        gc.collect()
        return int(STATM.read_text().split()[1]) * resource.getpagesize(), size

    (first, size), _, (third, _) = used(), used(), used()

    assert third - first < size


def test_a_cache_that_goes_takes_its_recordings_along() -> None:
    """
    A process that decodes texts of all lengths in turns holds the caches of the latest, and no others.
    """
    model = tiny(max_position_embeddings=4096)
    cascade = Cascade([model], engine="captured")

    def held(new: int) -> int:
        cascade.generate(PROMPT * new, max_new_tokens=4)
        gc.collect()
        return sum(isinstance(one, torch.Tensor) and one.dim() == 4 for one in gc.get_objects())

    first = [held(length) for length in (5, 150, 400)]
    again = [held(length) for length in (5, 150, 400)]

    assert again == [max(first)] * 3
