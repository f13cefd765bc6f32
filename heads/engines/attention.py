"""Attention of a few queries over a cache of fixed size, in the place of a kernel that is made for long texts.

torch's own kernels give each head of the queries to one or two programs, which go through all keys in turn, and want
the keys of grouped heads repeated for each head. Here the keys are divided among as many programs as fill the device,
each for all heads that share its keys, what is masked for all of them is not read, and the parts are put together.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule, Node

from heads.engines.operators import LAID_OUT, MEMORY, written

MOST_ROWS: Final = 128  # queries times heads that share keys, as one program holds them
MOST_BYTES: Final = 64 << 10  # of those: so much a GPU of these years has room for, beside keys and values

_aten: Final = torch.ops.aten
_ATTENTIONS: Final = frozenset(
    {
        _aten._scaled_dot_product_cudnn_attention.default,
        _aten._scaled_dot_product_efficient_attention.default,
        _aten._scaled_dot_product_flash_attention_for_cpu.default,
    }
)
_RESHAPES: Final = frozenset({_aten.view.default, _aten._unsafe_view.default})


class _Attention(NamedTuple):
    """Arguments of `attend`, as nodes."""

    queries: Node
    keys: Node
    values: Node
    mask: Node
    scale: float
    strides: tuple[int, ...]


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, *, scale: float, strides: Sequence[int]
) -> Tensor:
    """What attention of queries over masked keys and values gives, summed in float32.

    Args:
        queries: (1, heads, n, size).
        keys: (1, groups, capacity, size); `heads` is a multiple of `groups`, and heads of a group are neighbours.
        values: As the keys.
        mask: (1, heads or 1, n or 1, capacity), added to the scores; each query sees some key.
        scale: Of the scores.
        strides: Of what it gives.

    Returns:
        (1, heads, n, size).
    """
    if queries.device.type == "cuda":
        from heads.engines.attention_kernel import attend_on_a_gpu  # noqa: PLC0415 - Triton is there with a GPU

        return attend_on_a_gpu(queries, keys, values, mask, scale=scale, strides=strides)
    _, heads, count, size = queries.shape
    groups, capacity = keys.shape[1:3]
    together = queries.reshape(groups, -1, size).float()
    scores = together @ keys[0].float().transpose(1, 2) * scale
    scores = scores + mask.expand(1, heads, count, capacity).reshape(groups, -1, capacity)
    made = torch.empty_strided(queries.shape, strides, dtype=queries.dtype)
    return made.copy_((scores.softmax(-1) @ values[0].float()).view(queries.shape))


def replace_attention(graph: GraphModule) -> None:
    """Let a recorded step attend by `attend` wherever that can be done."""
    nodes = graph.graph
    order = {node: place for place, node in enumerate(nodes.nodes)}
    for node in list(nodes.nodes):
        found = _attention(node, order)
        if found is None:
            continue
        shape, _strides, dtype, device = found.queries.meta[LAID_OUT]
        with nodes.inserting_before(node):
            made = nodes.call_function(attend, found[:4], {"scale": found.scale, "strides": found.strides})
        made.meta[LAID_OUT] = (shape, found.strides, dtype, device)
        made.meta[MEMORY] = next(part.meta[MEMORY] for part in node.users if part.args[1] == 0)
        for part in list(node.users):
            if part.args[1] == 0:
                part.replace_all_uses_with(made)
            nodes.erase_node(part)
        nodes.erase_node(node)
    graph.recompile()


def _attention(node: Node, order: Mapping[Node, int]) -> _Attention | None:
    """What a node attends to, where it is attention with a mask and little else."""
    if node.target not in _ATTENTIONS or not isinstance(node.target, OpOverload):
        return None
    given = _by_name(node.target, node)
    mask = given.get("attn_bias", given.get("attn_mask"))
    queries = given["query"]
    keys, values = (_unrepeated(given[name], node, order) for name in ("key", "value"))
    if not isinstance(mask, Node) or given["dropout_p"] or given["is_causal"]:
        return None
    (batch, heads, count, size), stored = queries.meta[LAID_OUT][0], keys.meta[LAID_OUT][0]
    masked = mask.meta[LAID_OUT]
    made = next((part.meta[LAID_OUT] for part in node.users if part.args[1] == 0), None)
    fits = (
        made is not None
        and made[0] == queries.meta[LAID_OUT][0]
        and all(part.args[1] == 0 or not part.users for part in node.users)
        and batch == 1
        and stored == values.meta[LAID_OUT][0] == (1, stored[1], stored[2], size)
        and masked[0] in itertools.product((1,), (1, heads), (1, count), (stored[2],))
        and masked[2].is_floating_point
        and queries.meta[LAID_OUT][2] != torch.float64  # sums are float32
        and heads % stored[1] == 0
        and (rows := heads // stored[1] * count) <= MOST_ROWS
        and _power(rows) * _power(size) * queries.meta[LAID_OUT][2].itemsize <= MOST_BYTES
    )
    scale = size**-0.5 if given["scale"] is None else given["scale"]
    return _Attention(queries, keys, values, mask, scale, made[1]) if fits and made else None


def _power(number: int) -> int:
    """The next power of two."""
    return 1 << (number - 1).bit_length()


def _by_name(func: OpOverload, node: Node) -> dict[str, Any]:
    """The arguments of a call, with those that it left out."""
    given = {one.name: one.default_value for one in func._schema.arguments}
    names = [one.name for one in func._schema.arguments]
    return given | dict(zip(names, node.args, strict=False)) | node.kwargs


def _unrepeated(node: Node, user: Node, order: Mapping[Node, int]) -> Node:
    """The keys of each group, where these are those of each head: every group's repeated as they are.

    And where neither is written to until they are used.
    """
    if node.target not in _RESHAPES:
        return node
    wide = _before(node)
    if wide.target is _aten.clone.default:
        wide = _before(wide)
    groups = _past_whole_slices(_before(wide)) if wide.target is _aten.expand.default else wide
    if groups.target is not _aten.unsqueeze.default or groups.args[1] != 2:
        return node
    found, shape = _past_whole_slices(_before(groups)), node.meta[LAID_OUT][0]
    each, shown = wide.meta[LAID_OUT][0], {found.meta[MEMORY], node.meta[MEMORY]}
    stays = not any(shown & written(one) for one, at in order.items() if order[found] < at < order[user])
    return found if stays and shape == (each[0], each[1] * each[2], *each[3:]) else node


def _past_whole_slices(node: Node) -> Node:
    """What is shown whole."""
    while node.target is _aten.slice.Tensor and node.meta[LAID_OUT][0] == _before(node).meta[LAID_OUT][0]:
        node = _before(node)
    return node


def _before(node: Node) -> Node:
    return node.all_input_nodes[0]
