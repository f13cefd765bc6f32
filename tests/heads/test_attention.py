"""Attention of a few queries, in the place of torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import repeat_kv

from heads.engines import attention
from heads.engines.attention import attend, replace_attention
from heads.engines.operators import listened

scaled_dot_product_attention: Any = torch.nn.functional.scaled_dot_product_attention


def some(heads: int, groups: int, count: int, *, capacity: int = 24, size: int = 8) -> tuple[Tensor, ...]:
    """Queries as a model lays them out, keys, values, and a mask that shows the past and a slot more each."""
    queries = torch.randn(1, count, heads, size).transpose(1, 2)
    keys, values = torch.randn(2, 1, groups, capacity, size).unbind()
    past = torch.arange(capacity) <= capacity // 2 + torch.arange(count)[:, None]
    return queries, keys, values, torch.zeros(count, capacity).masked_fill(~past, -torch.inf)[None, None]


@pytest.mark.parametrize(("heads", "groups", "count"), [(4, 2, 3), (6, 1, 1), (3, 3, 5)])
def test_it_says_what_torch_says(heads: int, groups: int, count: int) -> None:
    """
    For heads that share their keys and for others, laid out as it was asked for.
    """
    queries, keys, values, mask = some(heads, groups, count)
    own = attend(queries, keys, values, mask, scale=0.3, strides=queries.stride())

    repeated = [repeat_kv(one, heads // groups) for one in (keys, values)]
    assert torch.allclose(own, scaled_dot_product_attention(queries, *repeated, mask, scale=0.3), atol=1e-6)
    assert own.stride() == queries.stride()
    dense = torch.empty(queries.shape).stride()
    assert torch.equal(attend(queries, keys, values, mask, scale=0.3, strides=dense), own)


def test_a_mask_may_differ_between_heads() -> None:
    """
    As where distance is penalized by each of them otherwise.
    """
    queries, keys, values, mask = some(4, 4, 3)
    mask = mask - torch.rand(1, 4, 3, 24)

    expected = scaled_dot_product_attention(queries, keys, values, mask, scale=1.0)
    assert torch.allclose(
        attend(queries, keys, values, mask, scale=1.0, strides=queries.stride()), expected, atol=1e-6
    )


def test_a_mask_may_be_one_for_all_queries() -> None:
    """
    As where the heads of one query are taken for queries.
    """
    queries, keys, values, mask = some(2, 2, 3)

    expected = scaled_dot_product_attention(queries, keys, values, mask[:, :, -1:])
    assert torch.allclose(
        attend(queries, keys, values, mask[:, :, -1:], scale=8**-0.5, strides=queries.stride()),
        expected,
        atol=1e-6,
    )


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_keys_are_no_longer_repeated(groups: int) -> None:
    """
    The graph attends over the keys of the groups, by the scale that torch takes where none is given.
    """
    queries, keys, values, mask = some(4, groups, 3)

    def step(now: Tensor) -> Tensor:
        repeated = [repeat_kv(one, 4 // groups) for one in (keys, values)]
        shown: Tensor = scaled_dot_product_attention(now, *repeated, mask)
        return shown

    graph = listened(step, queries)
    replace_attention(graph)

    (node,) = (node for node in graph.graph.nodes if node.target is attend)
    assert [one.op for one in node.all_input_nodes] == ["placeholder", "get_attr", "get_attr", "get_attr"]
    assert torch.allclose(graph(queries), step(queries), atol=1e-6)


def test_keys_that_are_repeated_another_way_are_taken_as_they_are() -> None:
    """
    All heads once and then all again: neighbours do not share theirs.
    """
    queries, keys, values, mask = some(4, 2, 3)

    def step(now: Tensor) -> Tensor:
        twice = [one[:, None].expand(1, 2, 2, 24, 8).reshape(1, 4, 24, 8) for one in (keys, values)]
        shown: Tensor = scaled_dot_product_attention(now, *twice, mask)
        return shown

    graph = listened(step, queries)
    replace_attention(graph)

    assert any(node.target is attend for node in graph.graph.nodes)
    assert torch.allclose(graph(queries), step(queries), atol=1e-6)


def test_what_one_program_cannot_hold_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Many queries, and attention without a mask.
    """
    queries, keys, values, mask = some(4, 4, 3)
    monkeypatch.setattr(attention, "MOST_ROWS", 2)
    for given in (mask, None):
        graph = listened(
            lambda now, given=given: scaled_dot_product_attention(now, keys, values, given), queries
        )
        replace_attention(graph)
        assert all(node.target is not attend for node in graph.graph.nodes)
