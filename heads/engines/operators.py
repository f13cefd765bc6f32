"""The operators of a step, listened to while it runs: a graph without anything that Python did around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import getitem
from typing import Any, Final

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, GraphModule, Node
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

LAID_OUT: Final = "laid out"  # what a node's notes call the shape, strides, dtype and device of what it gives
MEMORY: Final = "memory"  # where that lies: two nodes that show the same have the same note
WRITTEN: Final = "written"  # and all memory that it writes to
UNSEEN: Final = frozenset({Tensor.tolist, Tensor.numpy, Tensor.__array__})  # they read where no operator does
LED_BY_NUMBERS: Final = frozenset({torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output})


def listened(step: Callable[..., Any], *examples: Tensor) -> GraphModule:
    """The operators that a step calls, from its inputs to what it gives; sizes are those of the examples.

    torch's own tracer asks of each operator what it would do for other sizes too, which takes many times as long.

    Raises:
        RuntimeError: The step reads its own numbers: they would stand in the graph for good.
    """
    listener = _Listener(examples)
    with _NothingRead(), listener:
        shown = step(*examples)
    listener.graph.output(listener.known(shown))
    return GraphModule(listener.constants, listener.graph)


class _Listener(TorchDispatchMode):
    """Lets every operator do its work, and writes it down."""

    def __init__(self, examples: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = Graph()
        self.constants: dict[str, Tensor] = {}
        self._nodes: dict[int, Node] = {}
        self._kept: list[Tensor] = []  # a tensor that was let go of would lend its id to another
        for place, example in enumerate(examples):
            self._learn(example, self.graph.placeholder(f"given_{place}"))

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        _require_followed(func, args)
        known = self.known(args), self.known(dict(kwargs or {}))
        shown = func(*args, **(kwargs or {}))
        node = self.graph.call_function(func, *known)
        node.meta[WRITTEN] = _written(func, args, kwargs or {})
        if isinstance(shown, Tensor):
            self._learn(shown, node)
            if _writes_to_first(func) and isinstance(args[0], Tensor):
                self._learn(args[0], node)  # from here on it is what was written to it
        else:
            for place, one in enumerate(shown if isinstance(shown, (tuple, list)) else ()):
                if isinstance(one, Tensor):
                    self._learn(one, self.graph.call_function(getitem, (node, place)))
        return shown

    def known(self, values: Any) -> Any:
        """The same values, with nodes in the place of tensors."""
        return tree_map_only(Tensor, self._node, values)

    def _node(self, tensor: Tensor) -> Node:
        """What gave a tensor; one that was there before the step is a constant, found where it lies."""
        if id(tensor) not in self._nodes:
            name = f"constant_{len(self.constants)}"
            self.constants[name] = tensor.detach()  # torch's tracer keeps none that asks for gradients
            self._learn(tensor, self.graph.get_attr(name))
        return self._nodes[id(tensor)]

    def _learn(self, tensor: Tensor, node: Node) -> None:
        node.meta[LAID_OUT] = (tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device)
        node.meta[MEMORY] = _memory(tensor)
        self._nodes[id(tensor)] = node
        self._kept.append(tensor)


class _NothingRead(TorchFunctionMode):
    """Refuses what copies numbers out of a tensor without an operator."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in UNSEEN:
            raise RuntimeError(f"the step reads its own numbers, by {func.__name__}")
        return func(*args, **(kwargs or {}))


def _require_followed(func: OpOverload, args: tuple[Any, ...]) -> None:
    """Refuse an operator that tells Python a number, or gives as many rows as its numbers say."""
    if LED_BY_NUMBERS & set(func.tags) and not _by_place(func, args):
        raise RuntimeError(f"what {func} gives leaves the step, or has a size that depends on numbers")


def written(node: Node) -> frozenset[int]:
    """All memory that an operator of a graph writes to."""
    found: frozenset[int] = node.meta.get(WRITTEN, frozenset())
    return found


def writes_in_place(node: Node) -> bool:
    """Whether an operator of a graph changes its first argument, and nothing else."""
    return isinstance(node.target, OpOverload) and _writes_to_first(node.target) and len(written(node)) == 1


def is_view(node: Node) -> bool:
    """Whether it shows what is there already, in another shape; of several parts, each."""
    if node.target is getitem:
        of = node.args[0]
        return isinstance(of, Node) and is_view(of)
    func = node.target
    return isinstance(func, OpOverload) and (func.is_view or func is torch.ops.aten._unsafe_view.default)


def was_there(node: Node) -> bool:
    """Whether it is, or is written to, something that was there before the step."""
    return was_there(node.all_input_nodes[0]) if writes_in_place(node) else node.op == "get_attr"


def _writes_to_first(func: OpOverload) -> bool:
    """Whether an operator changes its first argument and gives it back."""
    first = func._schema.arguments[0].alias_info if func._schema.arguments else None
    return first is not None and bool(first.is_write)


def _written(func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> frozenset[int]:
    """The memory of all tensors that a call writes to, wherever they stand among its arguments."""
    if not func._schema.is_mutable:
        return frozenset()
    given = dict(zip((one.name for one in func._schema.arguments), args, strict=False)) | dict(kwargs)
    changed = [
        given.get(one.name)
        for one in func._schema.arguments
        if one.alias_info is not None and one.alias_info.is_write
    ]
    return frozenset(_memory(one) for one in tree_leaves(changed) if isinstance(one, Tensor))


def _memory(tensor: Tensor) -> int:
    """Where its numbers lie; what takes no room shares it with nothing."""
    return tensor.untyped_storage().data_ptr() or id(tensor)


def _by_place(func: OpOverload, args: tuple[Any, ...]) -> bool:
    """Whether an operator only picks by places, of which there are always as many; truth values pick as they are."""
    return func is torch.ops.aten.index.Tensor and all(
        place is None or place.dtype not in (torch.bool, torch.uint8) for place in args[1]
    )
