"""What stands between the large operators of a recording, each stretch of it one compiled kernel or a few.

A layer's norms, rotations and activations are some sixty kernels in eager torch, each of which takes longer to begin
than to compute. torch's compiler joins them; given a whole model it takes a minute for each length of query. Here it is
given the stretches between the large operators (products, attention), and each kind of stretch once: the layers of a
model are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import getitem
from typing import Any, Final

import torch
from torch._ops import OpOverload
from torch.fx import Graph, GraphModule, Node

from heads.engines.operators import LAID_OUT, MEMORY, is_view, was_there, written

Compiled = Callable[..., Any]

WORTH_IT: Final = 2  # operators that compute: one alone is a kernel already
ROUND_AS_EAGER: Final[dict[str, Any]] = {"emulate_precision_casts": True}  # between two of them too

_aten: Final = torch.ops.aten
# older releases of torch mark no reductions: those that models ask for stand below
_MARKED: Final = {torch.Tag.pointwise, getattr(torch.Tag, "reduction", torch.Tag.pointwise)}
_OTHERS: Final = frozenset(  # that compute, besides those which torch marks as pointwise or as a reduction
    {
        _aten._softmax.default,
        _aten._to_copy.default,
        _aten.all.default,
        _aten.amax.default,
        _aten.arange.default,
        _aten.arange.start,
        _aten.arange.start_step,
        _aten.cat.default,
        _aten.constant_pad_nd.default,
        _aten.copy_.default,
        _aten.embedding.default,
        _aten.fill_.Scalar,
        _aten.full.default,
        _aten.full_like.default,
        _aten.index.Tensor,
        _aten.index_copy_.default,
        _aten.max.dim,
        _aten.mean.dim,
        _aten.native_layer_norm.default,
        _aten.new_zeros.default,
        _aten.ones.default,
        _aten.ones_like.default,
        _aten.scalar_tensor.default,
        _aten.stack.default,
        _aten.sum.dim_IntList,
        _aten.zero_.default,
        _aten.zeros.default,
        _aten.zeros_like.default,
    }
)


class Kernels:
    """What was compiled so far, for whatever stretches are of a kind.

    Args:
        most: Kernels; what is new after so many is left as it is.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._compiled: dict[tuple[Any, ...], tuple[str, Compiled]] = {}

    def __len__(self) -> int:
        return len(self._compiled)

    def fuse(self, graph: GraphModule) -> GraphModule:
        """The same graph with its stretches compiled, each kind at its first call.

        Args:
            graph: As `listened` writes it; products and attention may stand for others by now.
        """
        fused = Graph()
        held: dict[str, Any] = {
            str(node.target): getattr(graph, str(node.target))
            for node in graph.graph.nodes
            if node.op == "get_attr"
        }
        to: dict[Node, Node] = {}
        for nodes in _stretches(graph.graph.nodes):
            stretch = _Stretch(nodes) if sum(map(_computes, nodes)) >= WORTH_IT else None
            if stretch is None or stretch.aliased or not self._may_compile(stretch):
                for node in nodes:
                    to[node] = fused.node_copy(node, to.__getitem__)
                continue
            name, kernel = self._kernel(stretch)
            held[name] = kernel
            call = fused.call_module(name, tuple(to[one] for one in stretch.inputs))
            for place, node in enumerate(stretch.given):
                to[node] = fused.call_function(getitem, (call, place))
            for node in stretch.needed:
                if written(node):
                    to[node] = to[node.all_input_nodes[0]]
            for node in stretch.views:
                to[node] = fused.node_copy(node, to.__getitem__)
        return GraphModule(held, fused)

    def _may_compile(self, stretch: _Stretch) -> bool:
        return stretch.kind in self._compiled or len(self._compiled) < self._most

    def _kernel(self, stretch: _Stretch) -> tuple[str, Compiled]:
        if stretch.kind not in self._compiled:
            made: Compiled = torch.compile(
                GraphModule({}, stretch.graph), fullgraph=True, dynamic=False, options=ROUND_AS_EAGER
            )
            self._compiled[stretch.kind] = (f"kernel_{len(self)}", made)
        return self._compiled[stretch.kind]


class _Stretch:
    """Operators in a row, as a graph of their own that is given whatever it does not make itself.

    Attributes:
        needed: Those that compute something which is asked for, and the views they look through.
        inputs: What they are given.
        aliased: Whether it writes to what it is given in two shapes, of which torch's compiler may read the old one.
        given: What they compute that is asked for outside, in order.
        views: Views of it, or of what was there before, that are asked for outside: those cost nothing there.
        graph: From `inputs` to `given`.
        kind: Two of one kind do the same to inputs of the same layouts.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        inside = set(nodes)
        asked: set[Node] = set()  # outside, itself or through a view
        needed: set[Node] = set()
        for node in reversed(nodes):
            if any(user not in inside or (user in asked and is_view(user)) for user in node.users):
                asked.add(node)
            if (node in asked and not is_view(node)) or written(node) or needed & node.users.keys():
                needed.add(node)
        self.needed = [node for node in nodes if node in needed]
        self.views = [node for node in nodes if node in asked and is_view(node)]
        self.given = [node for node in nodes if node in asked and not is_view(node) and not written(node)]
        self.inputs = list(
            dict.fromkeys(one for node in self.needed for one in node.all_input_nodes if one not in inside)
        )
        self.aliased = _aliased(self.needed, self.inputs)
        self.graph = Graph()
        own = {one: self.graph.placeholder(f"given_{place}") for place, one in enumerate(self.inputs)}
        for node in self.needed:
            own[node] = self.graph.node_copy(node, own.__getitem__)
            own[node]._rename(f"made_{len(own)}")
        self.graph.output(tuple(own[node] for node in self.given))
        self.kind = (
            *(one.meta[LAID_OUT] for one in self.inputs),
            *(f"{one.name} {one.target} {one.args} {one.kwargs}" for one in self.graph.nodes),
        )


def _aliased(nodes: Sequence[Node], inputs: Sequence[Node]) -> bool:
    """Whether several inputs show what the nodes write to."""
    changed = frozenset[int]().union(*map(written, nodes))
    given = [one.meta[MEMORY] for one in inputs]
    return any(given.count(memory) > 1 for memory in changed)


def _stretches(nodes: Iterable[Node]) -> Iterator[list[Node]]:
    """All nodes in their order: those that can be compiled together, and each other one alone.

    What is written by places is written by the last of a stretch that looks at it: torch's compiler is known to mix up
    old numbers and new ones there.
    """
    stretch: list[Node] = []
    looked: set[int] = set()
    scattered: set[int] = set()
    for node in nodes:
        if _joins(node):
            sees = {one.meta[MEMORY] for one in node.all_input_nodes if MEMORY in one.meta}
            places = written(node) if node.target is _aten.index_copy_.default else frozenset[int]()
            if stretch and (sees & scattered or places & looked):
                yield stretch
                stretch, looked, scattered = [], set(), set()
            stretch.append(node)
            looked |= sees
            scattered |= places
            continue
        if node.op != "get_attr" and stretch:  # what was there before is there at any time
            yield stretch
            stretch, looked, scattered = [], set(), set()
        yield [node]
    if stretch:
        yield stretch


def _joins(node: Node) -> bool:
    if node.target is getitem:
        of = node.args[0]
        return isinstance(of, Node) and _joins(of)
    return is_view(node) or _computes(node)


def _computes(node: Node) -> bool:
    func = node.target
    if not isinstance(func, OpOverload) or torch.Tag.nondeterministic_seeded in func.tags:
        return False
    if written(node) and not was_there(node):
        return False  # a tensor that the step made itself may be looked at elsewhere, through views
    return bool(_MARKED & set(func.tags)) or func in _OTHERS
