"""Promise 9: what a pickle holds is what the converted file holds, bit for bit."""

from __future__ import annotations

import io
import random
from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from heads.checkpoint import load_head
from registry.files.layout import HeadConfig, expected_shapes
from tests.convert.rooms import warm

pytestmark = pytest.mark.promises
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
SPECIAL = (-0.0, 0.0, 5e-324, 1e-45, 6e-8, 1e-40, 65504.0, -65504.0, 1.0, -1.5)


def drawn(number: int) -> tuple[HeadConfig, bool, OrderedDict[str, Tensor]]:
    """A state dict of any size, depth and dtype, with zeros of both signs and the smallest numbers in it."""
    draw = random.Random(number)  # noqa: S311 - the same ones every time
    torch.manual_seed(number)
    config = HeadConfig(hidden_size=draw.randint(1, 64), num_layers=draw.randint(1, 6))
    shared = draw.random() < 0.5 and config.num_layers > 1
    dtype = draw.choice(DTYPES)
    state: OrderedDict[str, Tensor] = OrderedDict()
    for name, shape in expected_shapes(config).items():
        first = f"model.0.{name.split('.', 2)[2]}"
        if shared and ".linear." in name and first in state:
            state[name] = state[first]
            continue
        numbers = torch.randn(shape, dtype=torch.float64) * 10 ** draw.uniform(-8, 3)
        flat = numbers.view(-1)
        for _ in range(draw.randint(0, 4)):
            flat[draw.randrange(len(flat))] = draw.choice(SPECIAL)
        state[name] = numbers.clamp(-65504, 65504).to(dtype)
    return config, shared, state


def test_every_bit_comes_over(times: Callable[[int, int], int], figure: Callable[[int, str], None]) -> None:
    """
    Each state dict is saved, converted in the sandbox and loaded: same names, dtypes, bits and shared blocks.
    """
    count = times(500, 20)
    shared_ones = 0
    for number in range(count):
        config, shared, state = drawn(number)
        shared_ones += shared
        stream = io.BytesIO()
        torch.save(state, stream)

        weights = warm().convert(stream.getvalue(), config, file="pytorch_model.bin")

        sizes = f'{{"hidden_size": {config.hidden_size}, "num_layers": {config.num_layers}}}'.encode()
        loaded = load_head(sizes, weights)
        assert loaded.shared == shared
        assert loaded.state_dict().keys() == state.keys()
        for name, tensor in loaded.state_dict().items():
            assert tensor.dtype == state[name].dtype
            assert torch.equal(tensor.view(torch.uint8), state[name].view(torch.uint8)), name
    figure(9, f"{count} random state dicts ({shared_ones} with a shared block), each by a fork: bit-equal")
