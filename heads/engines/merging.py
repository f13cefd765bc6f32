"""Products of the same rows, side by side: as one product where the weights are small, else one after the other.

What asks for a layer's queries, keys and values, or for both halves of its activation, multiplies the same rows by
several weights. Each product of a small weight takes about as long as it takes to begin; and what stands between two
products keeps what comes after them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from heads.engines.copies import Copies, Lays
from heads.engines.operators import LAID_OUT, MEMORY, is_view, written
from heads.engines.products import ADDMM, MM, Product, T, changed_by, lasting, product

SMALL: Final = 16 << 20  # bytes of a weight: reading a larger one takes longer than beginning to

_VIEW: Final = torch.ops.aten.view.default
_UNSAFE_VIEW: Final = torch.ops.aten._unsafe_view.default
_RESHAPE: Final = torch.ops.aten.reshape.default
_SLICE: Final = torch.ops.aten.slice.Tensor
_BY_STRIDES: Final = (torch.ops.aten.as_strided.default, torch.ops.aten._reshape_alias.default)


def one_below_the_other(*weights: Tensor) -> Tensor:
    """The weight (sum of out, in) of all products."""
    return torch.cat(weights)


def merge(
    graph: GraphModule,
    copies: Copies,
    *,
    where: Callable[[Product], bool] = lambda _: True,
    lay: Lays = one_below_the_other,
) -> None:
    """Put products of the same rows of a recorded step side by side, and make one of those of small weights.

    Args:
        graph: As `listened` writes it.
        copies: Where weights that were made one are kept.
        where: Which products to look at.
        lay: Makes one weight of several.
    """
    for nodes in [nodes for nodes in _groups(graph, where) if len(nodes) > 1]:
        group = [one for node in nodes if (one := product(graph, node)) is not None]
        if all(one.weight.nbytes <= SMALL and not _lies_in_one_piece(one.node) for one in group):
            _make_one(graph, group, copies, lay)
        else:
            _gather(graph, group)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _groups(graph: GraphModule, where: Callable[[Product], bool]) -> Iterator[list[Node]]:
    """Products of the same rows, between which nothing was written to what the rows show."""
    groups: dict[Hashable, list[Node]] = {}
    shown: dict[Hashable, int] = {}  # where the rows of each group lie
    changed = changed_by(graph)
    for node in graph.graph.nodes:
        for key in [key for key in groups if shown[key] in written(node)]:
            yield groups.pop(key)
        found = product(graph, node)
        if found is None or not where(found) or not lasting(found, changed):
            continue
        if found.bias is None or found.bias.op == "get_attr":
            key = (*_seen(found.rows), found.bias is None)
            groups.setdefault(key, []).append(node)
            shown[key] = found.rows.meta[MEMORY]
    yield from groups.values()


def _seen(rows: Node) -> tuple[Hashable, ...]:
    """Rows, whatever node shows them: each product makes a view of its own."""
    if rows.target in (_VIEW, _UNSAFE_VIEW):
        return (rows.args[0], str(rows.args[1]))  # type: ignore[return-value]
    return (rows, "")


def _make_one(graph: GraphModule, group: Sequence[Product], copies: Copies, lay: Lays) -> None:
    nodes, first = graph.graph, group[0]
    weight = copies.of(lay, *(one.weight for one in group))
    with nodes.inserting_before(first.node):
        turned = _turned(graph, weight)
        if first.bias is None:
            together = nodes.call_function(MM, (first.rows, turned))
        else:
            biases = (getattr(graph, str(one.bias.target)) for one in group if one.bias is not None)
            bias = _held(graph, copies.of(one_below_the_other, *biases))
            together = nodes.call_function(ADDMM, (bias, first.rows, turned))
        shape, _stride, dtype, device = first.node.meta[LAID_OUT]
        together.meta[MEMORY] = first.node.meta[MEMORY]
        _note(together, (shape[0], len(weight)), (len(weight), 1), dtype, device)
        begin = 0
        for one in group:
            end = begin + len(one.weight)
            part = nodes.call_function(_SLICE, (together, 1, begin, end))
            part.meta[MEMORY] = together.meta[MEMORY]
            _note(part, (shape[0], end - begin), (len(weight), 1), dtype, device)
            begin = end
            one.node.replace_all_uses_with(part)
            _show_by_shape(part)


def _gather(graph: GraphModule, group: Sequence[Product]) -> None:
    """Have them follow the first one."""
    nodes, last = graph.graph, group[0].node
    for one in group[1:]:
        with nodes.inserting_before(last.next):
            bias = () if one.bias is None else (_held(graph, getattr(graph, str(one.bias.target))),)
            turned = _turned(graph, one.weight)
            last = nodes.call_function(one.node.target, (*bias, group[0].rows, turned))  # type: ignore[arg-type]
        last.meta.update(one.node.meta)
        one.node.replace_all_uses_with(last)


def _lies_in_one_piece(node: Node) -> bool:
    """Whether some view of it holds only for what does: it says where each number lies."""
    return any(
        user.target in _BY_STRIDES or (is_view(user) and _lies_in_one_piece(user)) for user in node.users
    )


def _show_by_shape(part: Node) -> None:
    """Let views of it, and views of those, look at what does not lie in one piece as well."""
    for user in list(part.users):
        if user.target in (_VIEW, _UNSAFE_VIEW):
            user.target = _RESHAPE
            _show_by_shape(user)
        elif is_view(user):
            _show_by_shape(user)


def _turned(graph: GraphModule, weight: Tensor) -> Node:
    """The factor of a product by a weight (out, in)."""
    held = _held(graph, weight)
    turned = graph.graph.call_function(T, (held,))
    turned.meta[MEMORY] = held.meta[MEMORY]
    return turned


def _held(graph: GraphModule, tensor: Tensor) -> Node:
    """A constant of the graph; it is looked up where it is inserted."""
    name = f"merged_{sum(node.op == 'get_attr' for node in graph.graph.nodes)}"
    graph.register_buffer(name, tensor)
    node = graph.graph.get_attr(name)
    node.meta[MEMORY] = id(tensor)  # the step never writes to it
    _note(node, tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device)
    return node


def _note(node: Node, *layout: Any) -> None:
    node.meta[LAID_OUT] = layout
