"""A step of a model, recorded once and played again without the work that Python does around it.

On a CUDA device the step becomes a CUDA graph; elsewhere its operators are recorded by torch's tracer, from a graph
that holds operators alone: a step that looks at its own numbers, which no recording can follow, is refused. A
recording does the same arithmetic as the step; `fused` has torch.compile make faster kernels first, which round
differently.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any, Final, TypeVar

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

Shown = TypeVar("Shown", Tensor, tuple[Tensor, Tensor])

REHEARSALS: Final = 2  # before a CUDA graph is captured: libraries set themselves up in the first calls
UNSEEN: Final = frozenset({Tensor.tolist, Tensor.numpy, Tensor.__array__})  # they read where no tracer looks
SIZED_BY_NUMBERS: Final = frozenset({torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output})

# torch's tracer wraps what all modules share, and one process captures one CUDA graph at a time
_one_at_a_time = threading.Lock()


class RecordingRefusedError(Exception):
    """The step cannot be recorded; the message says why."""


def record(
    step: Callable[[Tensor], Shown], example: Tensor, *, fused: bool = False, pool: Any = None
) -> Callable[[Tensor], Shown]:
    """A function that does for inputs like `example` what the step does.

    Args:
        step: From one tensor to one or two; it may write to tensors that it always finds in one place. What it
            gives holds until it is played again.
        example: An input that is in order: the step is run on it.
        fused: Compile it first.
        pool: The memory that CUDA graphs of one level share.

    Raises:
        RecordingRefusedError: it reads its own numbers, or this torch cannot record it.
    """
    try:
        with _one_at_a_time, outside_inference():
            example = example.clone()
            if fused:
                step = _compiled(step)
                step(example)
            if example.device.type == "cuda":
                return _cuda_graph(step, example, pool)
            return step if fused else _traced(step, example)
    except Exception as error:
        reason = str(error).strip().splitlines() or [""]
        raise RecordingRefusedError(f"{type(error).__name__}: {reason[0]}") from error


@contextmanager
def outside_inference() -> Iterator[None]:
    """Neither gradients nor inference tensors: those cannot be recorded, nor written to in another mode.

    A recording is made outside of inference mode, and played inside of it, where each operator costs less.
    """
    with torch.inference_mode(mode=False), torch.no_grad():
        yield


def _compiled(step: Callable[[Tensor], Shown]) -> Callable[[Tensor], Shown]:
    """Played in the mode it is compiled in, and compiled as code of its own.

    Another mode would have it compiled again; and all that one piece of code is compiled for counts towards one
    limit, which the lengths of one level's queries reach.
    """
    if isinstance(step, FunctionType):
        code = step.__code__.replace()
        step = FunctionType(code, step.__globals__, step.__name__, step.__defaults__, step.__closure__)
    compiled: Callable[[Tensor], Shown] = torch.compile(step, fullgraph=True, dynamic=False)

    def play(now: Tensor) -> Shown:
        with outside_inference():
            return compiled(now)

    return play


def _traced(step: Callable[[Tensor], Shown], example: Tensor) -> Callable[[Tensor], Shown]:
    """The step's operators, first as a graph, then as a program that needs no Python."""

    def alone(now: Tensor) -> Shown:  # make_fx counts the `self` of a method as an input
        return step(now)

    with _NothingRead():
        graph = make_fx(alone)(example)
    _require_fixed_sizes(graph)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # torch would rather have its compiler used, which takes a minute here
        traced: Callable[[Tensor], Shown] = torch.jit.trace(graph, (example,), check_trace=False)
    return traced


class _NothingRead(TorchFunctionMode):
    """Refuses what copies numbers out of a tensor without an operator: they would stand in the recording for good."""

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


def _require_fixed_sizes(graph: GraphModule) -> None:
    """What follows an operator whose result has as many rows as its numbers say was traced for one such size."""
    for node in graph.graph.nodes:
        if SIZED_BY_NUMBERS & set(getattr(node.target, "tags", ())) and not _by_place(node):
            raise RuntimeError(f"the size of what {node.target} gives depends on numbers")


def _by_place(node: Node) -> bool:
    """Whether an operator only picks by places, of which there are always as many; truth values pick as they are."""
    if node.target is not torch.ops.aten.index.Tensor or not isinstance(node.args[1], Sequence):
        return False
    places = [place.meta.get("tensor_meta") for place in node.args[1] if isinstance(place, Node)]
    return all(place is not None and place.dtype not in (torch.bool, torch.uint8) for place in places)


def _cuda_graph(step: Callable[[Tensor], Shown], example: Tensor, pool: Any) -> Callable[[Tensor], Shown]:
    """One launch for the whole step; input and output lie where they lay when it was captured."""
    given = example
    device = example.device
    with torch.cuda.device(device):  # a model may lie on another one than the current
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(REHEARSALS):
                step(given)
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # another thread may decode meanwhile: what it does is none of this capture's business
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            shown = step(given)

    def play(now: Tensor) -> Shown:
        given.copy_(now)
        graph.replay()
        return shown

    return play
