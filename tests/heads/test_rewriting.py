"""Steps that write where they look: what is made of their operators does what the step does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from heads.engines.copies import Copies, weights_of
from heads.engines.fusion import Kernels
from heads.engines.recording import record

Step = Callable[[Tensor], tuple[Tensor, ...]]
attention: Any = torch.nn.functional.scaled_dot_product_attention


@dataclass
class Given:
    """What steps find: layers without and with a bias, and tensors that stay."""

    layers: nn.ModuleList
    biased: nn.ModuleList
    board: Tensor
    other: Tensor

    def __post_init__(self) -> None:
        self.stays = [self.board, self.other, *self.biased.parameters()]
        self._first = [one.detach().clone() for one in self.stays]

    def anew(self) -> None:
        """Everything as it was first."""
        with torch.no_grad():
            for one, first in zip(self.stays, self._first, strict=True):
                one.copy_(first)


def given() -> Given:
    torch.manual_seed(0)
    layers, biased = (nn.ModuleList(nn.Linear(4, 4, bias=bias) for _ in range(4)) for bias in (False, True))
    return Given(
        layers.requires_grad_(False), biased.requires_grad_(False), torch.randn(4, 4), torch.randn(4, 4)
    )


def a_view_is_written(has: Given) -> Step:
    first, second = has.layers[:2]

    def step(now: Tensor) -> tuple[Tensor, ...]:
        made = first(now)
        shown = made.view(-1)
        beside = second(now)
        shown.add_(1)
        return (made.sin() + beside,)

    return step


def a_product_is_written(has: Given) -> Step:
    first, second = has.layers[:2]

    def step(now: Tensor) -> tuple[Tensor, ...]:
        made, beside = first(now), second(now)
        made.add_(1)
        return made.view(-1).sin(), made.as_strided((2, 4), (4, 1)).sin() + beside[:2]

    return step


def products_of_a_product(has: Given) -> Step:
    first, second, third, fourth = has.layers

    def step(now: Tensor) -> tuple[Tensor, ...]:
        made, beside = first(now), second(now)
        beside.view(2, 2, 4).add_(1)
        return third(beside) + fourth(beside) + made, third(fourth(made))

    return step


def a_weight_is_written(has: Given) -> Step:
    def step(now: Tensor) -> tuple[Tensor, ...]:
        made = now @ has.board.t()
        has.board.add_(0.1)
        return made, has.board + 0

    return step


def a_bias_is_written(has: Given) -> Step:
    first, second = has.biased[:2]
    bias = first.get_parameter("bias")

    def step(now: Tensor) -> tuple[Tensor, ...]:
        made = first(now) + second(now)
        bias.add_(1)
        return made, bias + 0

    return step


def a_bias_is_no_row(has: Given) -> Step:
    row = has.other[:1]

    def step(now: Tensor) -> tuple[Tensor, ...]:
        return torch.addmm(row, now, has.board.t()), torch.addmm(row[0, 0], now, has.board.t())

    return step


def two_names_for_one_memory(has: Given) -> Step:
    first, second = has.layers[:2]
    shown = has.board.view(4, 4)

    def step(now: Tensor) -> tuple[Tensor, ...]:
        before = first(shown)
        has.board.copy_(now)
        return before + second(shown), has.board + 0

    return step


def several_are_written_at_once(has: Given) -> Step:
    first, second = has.layers[:2]

    def step(now: Tensor) -> tuple[Tensor, ...]:
        rows, others = now * 1, now * 2
        before = first(rows)
        torch._foreach_mul_([others, rows], 2.0)
        return before + second(rows) + others, torch.add(rows, 1, out=has.board) + 0

    return step


def keys_are_written_after_they_were_repeated(has: Given) -> Step:
    keys, mask = has.board.view(1, 2, 2, 4), torch.zeros(1, 1, 4, 2)

    def step(now: Tensor) -> tuple[Tensor, ...]:
        repeated = keys[:, :, None].expand(1, 2, 2, 2, 4).reshape(1, 4, 2, 4)
        has.board.mul_(1.1)
        queries = now.view(1, 1, 4, 4).expand(1, 4, 4, 4).contiguous()
        return attention(queries, repeated, repeated, mask) + 0, has.board + 0

    return step


def a_board_is_seen_twice(has: Given) -> Step:
    layer = has.layers[0]

    def step(now: Tensor) -> tuple[Tensor, ...]:
        shown = has.board.view(4, 4)
        made = layer((shown + now).sin() * 2)
        has.board.add_(made)
        has.board.mul_(0.5)
        return (shown + made).sin() * 3, has.board + 0

    return step


def rows_are_written_and_read(has: Given) -> Step:
    places = torch.tensor([1, 2])

    def step(now: Tensor) -> tuple[Tensor, ...]:
        turned = torch.cat(now.split(2)[::-1])
        has.board.index_copy_(0, places, now[:2] * 1)
        read = turned * has.board
        has.board.index_copy_(0, places, has.board[:2].clone())
        return read, turned.max(1, keepdim=True)[0] - now, has.board + 0

    return step


STEPS: tuple[Callable[[Given], Step], ...] = (
    a_view_is_written,
    a_product_is_written,
    products_of_a_product,
    a_weight_is_written,
    a_bias_is_written,
    a_bias_is_no_row,
    two_names_for_one_memory,
    several_are_written_at_once,
    keys_are_written_after_they_were_repeated,
    a_board_is_seen_twice,
    rows_are_written_and_read,
)
MADE = pytest.mark.parametrize("make", STEPS, ids=[step.__name__ for step in STEPS])


def require_the_same(make: Callable[[Given], Step], kernels: Kernels | None) -> None:
    """Played on two inputs, one after the other, it gives and leaves behind what the step does."""
    mine, theirs = given(), given()
    copies = Copies(nn.ModuleList([mine.layers, mine.biased]))
    play, step = record(make(mine), torch.ones(4, 4), kernels=kernels, copies=copies), make(theirs)
    mine.anew()
    for seed in (1, 2):
        now = torch.randn(4, 4, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            expected = [one.clone() for one in step(now.clone())]
        for shown, wanted in zip(play(now), expected, strict=True):
            assert torch.allclose(shown, wanted, atol=1e-5)
        for left, wanted in zip(mine.stays, theirs.stays, strict=True):
            assert torch.allclose(left, wanted, atol=1e-5)


@MADE
def test_recorded_with_packed_weights(make: Callable[[Given], Step]) -> None:
    """
    On a CPU: products of the same rows are one, of packed weights.
    """
    require_the_same(make, None)


@MADE
@pytest.mark.usefixtures("uncompiled")
def test_fused_but_not_compiled(make: Callable[[Given], Step]) -> None:
    """
    Products are one, attention is our own, stretches are told apart.
    """
    require_the_same(make, Kernels(99))


@MADE
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++", "cl"))), reason="no C++ compiler here")
def test_fused_and_compiled(make: Callable[[Given], Step]) -> None:
    """
    By torch's compiler, as it is on this machine.
    """
    require_the_same(make, Kernels(99))


def test_copies_do_not_grow_where_layers_share_their_weights() -> None:
    """
    Rows by the same two weights, twice, recorded three times: each weight is copied once.
    """
    has = given()
    copies = Copies(has.layers)
    first, second = has.layers[:2]
    taken = []

    def step(now: Tensor) -> tuple[Tensor, ...]:
        return tuple(layer(rows) for rows in (now + 1, now.sin()) for layer in (first, second))

    for _ in range(3):
        record(step, torch.ones(4, 4), copies=copies)
        taken.append(copies.nbytes)

    assert taken == [taken[0]] * 3


def test_a_weight_that_is_replaced_makes_copies_stale() -> None:
    """
    By another parameter, by its data, or by what is loaded in its place.
    """
    layer = given().layers[0]
    assert isinstance(layer, nn.Linear)
    fresh = torch.randn(4, 4)

    def parameter() -> None:
        layer.weight = nn.Parameter(fresh.clone(), requires_grad=False)

    def data() -> None:
        layer.weight.data = fresh.clone()

    def loaded() -> None:
        layer.load_state_dict({"weight": fresh.clone()}, assign=True)

    for replace in (parameter, data, loaded):
        copies = Copies(layer)
        record(layer, torch.ones(4, 4), copies=copies)
        assert not copies.stale(weights_of(layer))
        replace()
        assert copies.stale(weights_of(layer)) == (copies.nbytes > 0)
