"""The products of a recorded step: rows times a weight that was there before it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from heads.engines.operators import LAID_OUT, MEMORY, written

MM: Final = torch.ops.aten.mm.default
ADDMM: Final = torch.ops.aten.addmm.default
T: Final = torch.ops.aten.t.default


class Product(NamedTuple):
    """`rows` times the transpose of `weight` (out, in), and `bias` where it adds one."""

    node: Node
    bias: Node | None
    rows: Node
    weight: Tensor


def product(graph: GraphModule, node: Node) -> Product | None:
    """What a node multiplies, where it is a product with a weight, and adds no more than a number to each column."""
    if node.target not in (MM, ADDMM) or node.kwargs:
        return None
    *others, factor = node.args
    weight = _constant(graph, factor)
    rows, bias = others[-1], others[0] if node.target is ADDMM else None
    if weight is None or not isinstance(rows, Node):
        return None
    if isinstance(bias, Node):
        return Product(node, bias, rows, weight) if bias.meta[LAID_OUT][0] == (len(weight),) else None
    return Product(node, None, rows, weight)


def lasting(found: Product, changed: frozenset[int]) -> bool:
    """Whether the step writes neither to the weight and bias of a product, nor to what it gives."""
    factor = found.node.args[-1]
    lasts = (factor, found.bias, found.node)
    return not any(one.meta[MEMORY] in changed for one in lasts if isinstance(one, Node))


def changed_by(graph: GraphModule) -> frozenset[int]:
    """All memory that a step writes to."""
    return frozenset[int]().union(*(written(node) for node in graph.graph.nodes))


def _constant(graph: GraphModule, factor: Any) -> Tensor | None:
    """The weight (out, in) whose transpose a factor is; None of what the step itself makes."""
    if not isinstance(factor, Node):
        return None
    if factor.op == "get_attr":
        held: Tensor = getattr(graph, str(factor.target))
        return held.t()
    if factor.target is T and isinstance(factor.args[0], Node) and factor.args[0].op == "get_attr":
        turned: Tensor = getattr(graph, str(factor.args[0].target))
        return turned
    return None
