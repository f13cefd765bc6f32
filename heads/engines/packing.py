"""Weights laid out anew for a CPU, so that a few tokens are fed in little more than the time of one.

To multiply many rows by a matrix, a library first copies it into an order that its kernel reads in; for three or six
rows that copy, made anew each time, takes as long as two or three products do. So each weight is copied once, when a
recording first meets it, into the order of oneDNN, and all recordings of a model share the copies.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from heads.engines.copies import Copies
from heads.engines.merging import merge
from heads.engines.operators import LAID_OUT
from heads.engines.products import Product, changed_by, lasting, product

SEVERAL: Final = 3  # rows of float32: one or two are multiplied faster by the weight as it is
LAID_OUT_FOR: Final = 16  # rows: one layout serves all numbers of them that are fed

# torch's tracer cannot write down the operator's own list of numbers: it calls this, and reads it when it is done
_PRODUCT: Final = """
def product(rows: Tensor, packed: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(rows, packed, None, "none", [], "")

def sum_and_product(bias: Tensor, rows: Tensor, packed: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
"""


def pack(graph: GraphModule, copies: Copies) -> tuple[Tensor, ...]:
    """Let a graph multiply by packed weights where that is faster; what it is given then, after its inputs."""
    merge(graph, copies, where=_pays, lay=_standing_in)
    nodes = graph.graph
    last = [node for node in nodes.nodes if node.op == "placeholder"][-1]
    given: dict[int, Node] = {}
    packed: list[Tensor] = []
    changed, stand_ins = changed_by(graph), []
    for node in list(nodes.nodes):
        found = product(graph, node)
        if found is None or not _pays(found) or not lasting(found, changed):
            continue
        one = copies.of(_packed, *copies.taken_from(found.weight))
        stand_ins.append(found.weight)
        if id(one) not in given:
            with nodes.inserting_after(last):
                last = given[id(one)] = nodes.placeholder(f"packed_{len(packed)}")
            packed.append(one)
        with nodes.inserting_before(node):
            call, others = (
                (_product_of_rows, (found.rows,))
                if found.bias is None
                else (_sum_and_product, (found.bias, found.rows))
            )
            made = nodes.call_function(call, (*others, given[id(one)]))
        made.meta.update(node.meta)
        node.replace_all_uses_with(made)
        factor = node.args[-1]
        nodes.erase_node(node)
        if isinstance(factor, Node) and not factor.users:
            nodes.erase_node(factor)
    for stand_in in stand_ins:
        copies.let_go(stand_in)
    graph.recompile()
    return tuple(packed)


@cache
def packs(dtype: torch.dtype) -> bool:
    """Whether this machine multiplies rightly by packed weights of that dtype.

    >>> packs(torch.int64)
    False
    """
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    with torch.inference_mode(mode=False), torch.no_grad():
        numbers = torch.Generator().manual_seed(0)
        rows, weight = (torch.randn(count, 32, generator=numbers).to(dtype) for count in (SEVERAL, 48))
        try:
            made = _product_of_rows(rows, _packed(weight))
        except (RuntimeError, AttributeError, NotImplementedError):  # a torch or a processor without it
            return False
        return torch.allclose(made, rows @ weight.t(), atol=0.1, rtol=0.1)


def _least_rows(dtype: torch.dtype) -> float:
    if not packs(dtype):
        return torch.inf
    return SEVERAL if dtype == torch.float32 else 1


def _standing_in(*weights: Tensor) -> Tensor:
    """What takes no memory in the place of several weights, until they are packed as one."""
    out = sum(len(one) for one in weights)
    return weights[0].new_empty(1).expand(out, weights[0].shape[1])


def _pays(one: Product) -> bool:
    """Whether a product is faster by a packed weight."""
    rows: int = one.rows.meta[LAID_OUT][0][0]
    return rows >= _least_rows(one.weight.dtype)


def _packed(*weights: Tensor) -> Tensor:
    together = weights[0].contiguous() if len(weights) == 1 else torch.cat(weights)
    copy: Tensor = torch.ops.mkldnn._reorder_linear_weight(together, LAID_OUT_FOR)
    return copy


@cache
def _unit() -> Any:
    return torch.jit.CompilationUnit(_PRODUCT)


def _product_of_rows(rows: Tensor, packed: Tensor) -> Tensor:
    made: Tensor = _unit().product(rows, packed)
    return made


def _sum_and_product(bias: Tensor, rows: Tensor, packed: Tensor) -> Tensor:
    made: Tensor = _unit().sum_and_product(bias, rows, packed)
    return made
