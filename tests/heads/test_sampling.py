"""Rows, draws and acceptance, as mathematics."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from heads.sampling import (
    NO_TOKEN,
    Acceptance,
    Greedy,
    Seeded,
    Warped,
    accept,
    accept_greedy,
    residual,
    warp,
)
from registry.errors import ShapeError

VOCAB = 7
FEW = settings(max_examples=60)
logit_rows = st.lists(
    st.lists(st.floats(-20, 20, width=32), min_size=VOCAB, max_size=VOCAB), min_size=1, max_size=3
).map(torch.tensor)
temperatures = st.floats(0.05, 5)


class Fixed:
    """Randomness with numbers of the test's choosing; draws the likeliest token, and remembers the weights."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = numbers
        self.drawn_from = torch.zeros(0)

    def uniform(self, count: int, device: torch.device) -> Tensor:
        return torch.tensor(self.numbers[:count], dtype=torch.float64, device=device)

    def draw(self, weights: Tensor) -> Tensor:
        self.drawn_from = weights
        return weights.argmax()

    def races(self, count: int, size: int, device: torch.device) -> Tensor:
        return torch.ones((count, size), device=device)


@FEW
@given(logit_rows, temperatures, st.integers(0, VOCAB + 2), st.floats(0.05, 1))
def test_rows_are_distributions(logits: Tensor, temperature: float, top_k: int, top_p: float) -> None:
    """
    Whatever the options: float32, not negative, summing to 1, and no token left out is likelier than one kept.
    """
    rows = warp(logits, temperature=temperature, top_k=top_k, top_p=top_p)

    assert rows.dtype == torch.float32
    assert bool((rows >= 0).all())
    assert rows.sum(dim=-1).tolist() == pytest.approx([1.0] * len(rows), abs=1e-5)
    for row, whole in zip(rows, warp(logits, temperature=temperature), strict=True):
        left_out = whole[row == 0]
        assert not len(left_out) or float(left_out.max()) <= float(whole[row > 0].min())


@FEW
@given(
    st.permutations(range(VOCAB)), temperatures, st.integers(0, VOCAB), st.sampled_from([0.3, 0.6, 0.9, 1.0])
)
def test_rows_are_those_of_transformers(
    order: list[int], temperature: float, top_k: int, top_p: float
) -> None:
    """
    The same options give the row that `generate` samples from.
    """
    logits = torch.tensor([order]) * 0.71
    scores = TemperatureLogitsWarper(temperature)(torch.zeros(1, 1), logits)
    if top_k:
        scores = TopKLogitsWarper(top_k)(torch.zeros(1, 1), scores)
    if top_p < 1:
        scores = TopPLogitsWarper(top_p)(torch.zeros(1, 1), scores)

    rows = warp(logits, temperature=temperature, top_k=top_k, top_p=top_p)

    assert torch.allclose(rows, scores.softmax(dim=-1), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_greedy_rows_are_exactly_one_hot(dtype: torch.dtype) -> None:
    """
    At temperature 0 nothing but the first argmax has any mass, in float32 whatever the logits are.
    """
    rows = warp(torch.tensor([[1.0, 3.0, 3.0], [-1.0, -2.0, -torch.inf]], dtype=dtype), temperature=0)

    assert rows.dtype == torch.float32
    assert rows.tolist() == [[0, 1, 0], [1, 0, 0]]


def test_a_tiny_temperature_does_not_overflow() -> None:
    """
    1e-30 gives the greedy row, not NaN.
    """
    assert warp(torch.tensor([[1.0, 3.0, 2.0]]), temperature=1e-30).tolist() == [[0, 1, 0]]


def test_ties_at_the_kth_place_stay() -> None:
    """
    As transformers does, top-k keeps all that equal the k-th.
    """
    assert warp(torch.tensor([[1.0, 1.0, 0.0]]), temperature=1.0, top_k=1)[0, :2].tolist() == [0.5, 0.5]


@FEW
@given(logit_rows, logit_rows)
def test_a_residual_is_what_p_has_over_q(p_logits: Tensor, q_logits: Tensor) -> None:
    """
    It is never negative, lies where p exceeds q, and weighs what a rejection weighs.
    """
    p, q = (logits[0].double().softmax(dim=-1) for logits in (p_logits, q_logits))

    weights = residual(p, q)

    assert bool((weights >= 0).all())
    if not torch.equal(weights, p):
        assert not bool(weights[p <= q].any())
        assert float(weights.sum()) == pytest.approx(1 - float(torch.minimum(p, q).sum()), abs=1e-9)


def test_a_residual_of_equals_is_p() -> None:
    """
    Where p equals q nothing is left over, and p itself is drawn from.
    """
    p = torch.tensor([0.25, 0.75])

    assert torch.equal(residual(p, p.clone()), p)


@pytest.mark.parametrize(
    ("u", "p", "q", "kept"),
    [
        pytest.param(0.0, 0.0, 0.5, 0, id="an impossible token is rejected even at u = 0"),
        pytest.param(0.0, 0.0, 0.0, 0, id="so is one that both hold impossible"),
        pytest.param(0.5, 0.25, 0.5, 0, id="u q = p rejects: the comparison is strict"),
        pytest.param(0.49, 0.25, 0.5, 1, id="just below accepts"),
        pytest.param(0.999, 0.5, 0.5, 1, id="p = q always accepts"),
    ],
)
def test_the_comparison_is_strict(u: float, p: float, q: float, kept: int) -> None:
    """
    x is kept when u * q < p, and not otherwise.
    """
    draft = torch.tensor([[q, 1 - q]])
    target = torch.tensor([[p, 1 - p], [0.5, 0.5]])

    assert int(accept(torch.tensor([0]), draft, target, Fixed(u)).kept) == kept


def test_the_token_after_comes_from_the_right_row() -> None:
    """
    From the residual at the first rejection, though later tokens would pass; from p itself after the last.
    """
    draft = torch.tensor([[0.5, 0.5, 0.0], [0.9, 0.1, 0.0]])
    target = torch.tensor([[0.5, 0.5, 0.0], [0.1, 0.3, 0.6], [0.2, 0.3, 0.5]])
    proposed = torch.tensor([0, 0])

    rejected, full = Fixed(0.2, 0.9), Fixed(0.2, 0.0)

    assert int(accept(proposed, draft, target, rejected).kept) == 1
    assert rejected.drawn_from.tolist() == pytest.approx([0, 0.2, 0.6])
    assert int(accept(proposed, draft, target, full).kept) == 2
    assert full.drawn_from.tolist() == pytest.approx([0.2, 0.3, 0.5])


def test_nothing_proposed_is_a_plain_draw() -> None:
    """
    With no proposals the token comes from the only row.
    """
    found = accept(torch.tensor([], dtype=torch.long), torch.zeros(0, 2), torch.tensor([[0.1, 0.9]]), Fixed())

    assert (int(found.kept), int(found.next_token)) == (0, 1)


@FEW
@given(st.data())
def test_greedy_is_the_rule_for_one_hot_rows(data: st.DataObject) -> None:
    """
    Held as argmaxes or as distributions, rows that are one-hot lead to the same decision, whatever is thrown.
    """
    count = data.draw(st.integers(0, 4))
    tokens = st.lists(st.integers(0, 2), min_size=count, max_size=count)
    proposed = torch.tensor(data.draw(tokens), dtype=torch.long)
    target = torch.tensor([*data.draw(tokens), data.draw(st.integers(0, 2))])
    numbers = data.draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=count, max_size=count))
    one_hot = torch.eye(3)

    lazy = accept_greedy(proposed, target)
    full = accept(proposed, one_hot[proposed], one_hot[target], Fixed(*numbers))

    assert (int(lazy.kept), int(lazy.next_token)) == (int(full.kept), int(full.next_token))


@pytest.mark.parametrize("rule", [Greedy(), Warped(Seeded(0), temperature=1.0)], ids=["greedy", "warped"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_no_numbers_give_no_token(rule: Greedy | Warped, bad: float) -> None:
    """
    NaN or infinity yields NO_TOKEN rather than a token.
    """
    rows = rule.rows(torch.tensor([[0.0, bad, 1.0]]))

    assert int(rule.draw(rows)) == NO_TOKEN


def test_padding_is_never_drawn() -> None:
    """
    A token at -inf has no mass and wins no draw.
    """
    rule = Warped(Seeded(2), temperature=3.0)
    rows = rule.rows(torch.tensor([[0.0, -torch.inf, 0.0]]))

    assert {int(rule.draw(rows)) for _ in range(500)} == {0, 2}


@pytest.mark.parametrize(
    ("draft", "target"), [((1, 3), (1, 3)), ((2, 3), (2, 3)), ((1, 4), (2, 3))], ids=["k", "k + 1", "vocab"]
)
def test_rows_that_do_not_agree_are_refused(draft: tuple[int, int], target: tuple[int, int]) -> None:
    """
    One proposal needs one draft row and two target rows of one width.
    """
    with pytest.raises(ShapeError) as caught:
        accept(torch.tensor([0]), torch.ones(draft), torch.ones(target), Fixed(0.5))

    assert caught.value.expected != caught.value.found
    with pytest.raises(ShapeError):
        accept_greedy(torch.tensor([0]), torch.tensor([0]))


def test_devices_do_not_share_a_stream() -> None:
    """
    Each device's generator has a seed of its own, drawn from the first.
    """
    randomness = Seeded(3)
    first = randomness._generator(torch.device("cpu"))

    assert first.initial_seed() != 3
    assert randomness._generator(torch.device("cpu")) is first
    assert isinstance(accept_greedy(torch.tensor([1]), torch.tensor([1, 2])), Acceptance)
