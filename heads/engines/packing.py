"""Weights laid out anew for a CPU, so that a few tokens are fed in little more than the time of one.

To multiply many rows by a matrix, a library first copies it into an order that its kernel reads in; for three or six
rows that copy, made anew each time, takes as long as two or three products do. So each weight is copied once, when a
recording first meets it, into the order of oneDNN, and all recordings of a model share the copies.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from heads.engines.operators import SHAPE

SEVERAL: Final = 3  # rows of float32: one or two are multiplied faster by the weight as it is
LAID_OUT_FOR: Final = 16  # rows: one layout serves all numbers of them that are fed

_MM: Final = torch.ops.aten.mm.default
_ADDMM: Final = torch.ops.aten.addmm.default
_T: Final = torch.ops.aten.t.default
# torch's tracer cannot write down the operator's own list of numbers: it calls this, and reads it when it is done
_PRODUCT: Final = """
def product(rows: Tensor, packed: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(rows, packed, None, "none", [], "")

def sum_and_product(bias: Tensor, rows: Tensor, packed: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
"""


class _Product(NamedTuple):
    """Rows times a weight (out, in), which is there before the step; `others` are the node's arguments before it."""

    others: tuple[Node, ...]
    weight: Tensor


class _Pack(NamedTuple):
    """A weight, which is held since one that was let go of would lend its place to another, and its copy."""

    weight: Tensor
    copy: Tensor


class Packs:
    """The copies of one model's weights, each made once, whatever queries and caches are recorded."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._packed: dict[tuple[int, ...], _Pack] = {}
        self._weights: list[Tensor] = []  # a model takes its time to list them
        self._written = 0  # how often weights had been written to when the first copy was made

    @property
    def stale(self) -> bool:
        """Whether a weight was written to since, as far as torch counts that."""
        return bool(self._packed) and self._written != self._times_written()

    @property
    def nbytes(self) -> int:
        """What they take, as much as the weights themselves but for what rounds sizes up."""
        return sum(one.weight.nbytes for one in self._packed.values())

    def clear(self) -> None:
        """Let go of them."""
        self._packed.clear()
        self._weights.clear()

    def put_into(self, graph: GraphModule) -> tuple[Tensor, ...]:
        """Let a graph multiply by packed weights where that is faster; what it is given then, after its inputs."""
        nodes = graph.graph
        last = [node for node in nodes.nodes if node.op == "placeholder"][-1]
        given: dict[int, Node] = {}
        packed: list[Tensor] = []
        for node in list(nodes.nodes):
            found = _product(graph, node)
            if found is None:
                continue
            one = self._of(found.weight)
            if id(one) not in given:
                with nodes.inserting_after(last):
                    last = given[id(one)] = nodes.placeholder(f"packed_{len(packed)}")
                packed.append(one)
            with nodes.inserting_before(node):
                call = _product_of_rows if node.target is _MM else _sum_and_product
                node.replace_all_uses_with(nodes.call_function(call, (*found.others, given[id(one)])))
            factor = node.args[-1]
            nodes.erase_node(node)
            if isinstance(factor, Node) and not factor.users:
                nodes.erase_node(factor)
        graph.recompile()
        return tuple(packed)

    def _of(self, weight: Tensor) -> Tensor:
        if not self._packed:
            self._weights = [one for one in self._model.parameters() if not one.is_inference()]
            self._written = self._times_written()
        place = (weight.data_ptr(), *weight.shape, *weight.stride())
        if place not in self._packed:
            self._packed[place] = _Pack(weight, _packed(weight))
        return self._packed[place].copy

    def _times_written(self) -> int:
        return sum(one._version for one in self._weights)


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


def _product(graph: GraphModule, node: Node) -> _Product | None:
    """What a node multiplies, where a packed weight is faster."""
    if node.target not in (_MM, _ADDMM) or node.kwargs:
        return None
    *others, factor = node.args
    weight = _constant(graph, factor)
    rows = others[-1]
    if weight is None or not isinstance(rows, Node) or rows.meta[SHAPE][0] < _least_rows(weight.dtype):
        return None
    return _Product(tuple(one for one in others if isinstance(one, Node)), weight)


def _constant(graph: GraphModule, factor: Any) -> Tensor | None:
    """The weight (out, in) whose transpose a factor is; None of what the step itself makes."""
    if not isinstance(factor, Node):
        return None
    if factor.op == "get_attr":
        held: Tensor = getattr(graph, str(factor.target))
        return held.t()
    if factor.target is _T and isinstance(factor.args[0], Node) and factor.args[0].op == "get_attr":
        turned: Tensor = getattr(graph, str(factor.args[0].target))
        return turned
    return None


def _least_rows(dtype: torch.dtype) -> float:
    if not packs(dtype):
        return torch.inf
    return SEVERAL if dtype == torch.float32 else 1


def _packed(weight: Tensor) -> Tensor:
    copy: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), LAID_OUT_FOR)
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
