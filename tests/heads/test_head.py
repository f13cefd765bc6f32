"""The acceptance prediction head itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from heads import AcceptancePredictionHead
from registry.errors import ShapeError, UsageError

CONFIG = {"hidden_size": 6, "num_layers": 3}


def test_names_are_the_published_ones() -> None:
    """
    Blocks at model.{i}.linear, the last layer at model.{D}.
    """
    names = list(AcceptancePredictionHead(config=CONFIG).state_dict())

    blocks = [f"model.{block}.linear.{kind}" for block in range(3) for kind in ("weight", "bias")]
    assert names == [*blocks, "model.3.weight", "model.3.bias"]


def test_it_computes_what_the_paper_says() -> None:
    """
    D times x + SiLU(Linear(x)), then a linear layer to two classes of which the second is 'accepted'.
    """
    head = AcceptancePredictionHead(CONFIG)
    hidden = torch.randn(4, 6)

    expected = hidden
    state = head.state_dict()
    for block in range(3):
        mixed = expected @ state[f"model.{block}.linear.weight"].T + state[f"model.{block}.linear.bias"]
        expected = expected + nn.functional.silu(mixed)
    expected = expected @ state["model.3.weight"].T + state["model.3.bias"]

    assert torch.allclose(head(hidden), expected, atol=1e-6)
    assert torch.allclose(head.acceptance(hidden), expected.softmax(dim=-1)[:, 1], atol=1e-6)


@pytest.mark.parametrize("shape", [(6,), (2, 6), (2, 3, 6)])
def test_any_leading_dimensions(shape: tuple[int, ...]) -> None:
    """
    (..., hidden) gives (..., 2) logits and (...) probabilities.
    """
    head = AcceptancePredictionHead(CONFIG)

    assert head(torch.zeros(shape)).shape == (*shape[:-1], 2)
    assert head.acceptance(torch.zeros(shape)).shape == shape[:-1]


def test_probabilities_are_float32_whatever_the_hidden_states_are() -> None:
    """
    bfloat16 hidden states and a bfloat16 head: float32 probabilities.
    """
    head = AcceptancePredictionHead(CONFIG).to(torch.bfloat16)

    for dtype in (torch.bfloat16, torch.float32):
        assert head.acceptance(torch.randn(2, 6, dtype=dtype)).dtype == torch.float32


def test_a_shared_block_is_one_block() -> None:
    """
    Shared, the head has the parameters of one block, whatever its depth.
    """
    head = AcceptancePredictionHead(CONFIG, shared=True)

    assert head.shared
    assert head.model[0] is head.model[2]
    assert sum(parameter.numel() for parameter in head.parameters()) == 6 * 6 + 6 + 2 * 6 + 2


def test_one_block_is_shared_with_nothing() -> None:
    """
    At depth 1 the two forms are one, called separate.
    """
    head = AcceptancePredictionHead({"hidden_size": 6, "num_layers": 1}, shared=True)

    assert (head.shared, head.stored_form) == (False, "separate")


@pytest.mark.parametrize(
    "config",
    [{}, {"hidden_size": 6}, {"hidden_size": True, "num_layers": 1}, {"hidden_size": 0, "num_layers": 1}],
    ids=["empty", "no depth", "bool", "zero"],
)
def test_sizes_out_of_range_are_refused(config: dict[str, object]) -> None:
    """
    A config without two sizes in range builds nothing.
    """
    with pytest.raises(UsageError, match="must be an integer from"):
        AcceptancePredictionHead(config)


def test_hidden_states_of_another_width_are_refused() -> None:
    """
    The error names both widths.
    """
    with pytest.raises(ShapeError) as caught:
        AcceptancePredictionHead(CONFIG)(torch.zeros(2, 5))

    assert (caught.value.expected, caught.value.found) == (6, 5)
