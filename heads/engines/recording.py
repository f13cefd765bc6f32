"""A step of a model, recorded once and played again without the work that Python does around it.

On a CUDA device the step becomes a CUDA graph; elsewhere its operators become a program of torch's that needs no
Python: a step that looks at its own numbers, which no recording can follow, is refused. A recording does the same
arithmetic as the step; given a place for kernels it has the small operators compiled first, which round differently.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, TypeVar

import torch
from torch import Tensor

from heads.engines.attention import replace_attention
from heads.engines.copies import Copies
from heads.engines.fusion import Kernels
from heads.engines.merging import merge
from heads.engines.operators import listened
from heads.engines.packing import pack

Shown = TypeVar("Shown", Tensor, tuple[Tensor, Tensor], tuple[Tensor, ...])

REHEARSALS: Final = 2  # before a CUDA graph is captured: libraries set themselves up in the first calls

# torch's tracer wraps what all modules share, and one process captures one CUDA graph at a time
_one_at_a_time = threading.Lock()


class RecordingRefusedError(Exception):
    """The step cannot be recorded; the message says why."""


def record(
    step: Callable[..., Shown],
    *examples: Tensor,
    pool: Any = None,
    kernels: Kernels | None = None,
    copies: Copies | None = None,
    within: AbstractContextManager[None] | None = None,
) -> Callable[..., Shown]:
    """A function that does for inputs like the examples what the step does.

    Args:
        step: From tensors to tensors. It may write to some that it always finds in one place, if it gives those
            too. What it gives holds until it is played again.
        examples: Inputs that are in order: the step is run on them.
        pool: The memory that CUDA graphs of one level share.
        kernels: Where those are kept that the small operators are compiled to. None leaves operators as they are.
        copies: Where weights are kept that are laid out anew, on a CPU for short queries, else where kernels are
            compiled: products then round otherwise, and what changes a weight later is not seen. None leaves all
            weights where they are.
        within: What is set of torch for the time of recording; others that record wait meanwhile, lest two of them
            set what all share and leave it so.

    Raises:
        RecordingRefusedError: it reads its own numbers, or this torch cannot record it.
    """
    try:
        with _one_at_a_time, within or nullcontext(), outside_inference():
            given = tuple(example.clone() for example in examples)
            if kernels is not None:
                step = _fused(step, given, kernels, copies)
                step(*given)
            if given[0].device.type == "cuda":
                return _cuda_graph(step, given, pool)
            return step if kernels is not None else _traced(step, given, copies)
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


@contextmanager
def as_loaded(device: torch.device) -> Iterator[None]:
    """In the dtype of the weights, whatever `torch.autocast` says: a recording and its cache have one for good."""
    if not torch.is_autocast_enabled(device.type):
        yield
        return
    with torch.autocast(device.type, enabled=False):
        yield


def _fused(
    step: Callable[..., Shown], examples: tuple[Tensor, ...], kernels: Kernels, copies: Copies | None
) -> Callable[..., Shown]:
    """The step's operators with few large kernels in the place of many small ones."""
    graph = listened(step, *examples)
    replace_attention(graph)
    if copies is not None:
        merge(graph, copies)
    fused = kernels.fuse(graph)

    def play(*now: Tensor) -> Shown:
        with outside_inference():  # the mode they are compiled in: another one would have them compiled again
            shown: Shown = fused(*(one.clone() if one.is_inference() else one for one in now))
            return shown

    return play


def _traced(
    step: Callable[..., Shown], examples: tuple[Tensor, ...], copies: Copies | None
) -> Callable[..., Shown]:
    """The step's operators, first as a graph, then as a program that needs no Python."""
    graph = listened(step, *examples)
    packed: tuple[Tensor, ...] = () if copies is None else pack(graph, copies)

    def alone(*given: Tensor) -> Any:  # a function has its constants at hand, a module looks each of them up
        return graph(*given)

    inputs = (*examples, *packed)
    names = [f"input_{number}" for number in range(len(inputs))]
    with warnings.catch_warnings():
        # torch would rather have its compiler used, which takes a minute here
        warnings.simplefilter("ignore")
        # what `torch.jit.trace` makes lives as long as the process, and with it all weights
        traced, _ = torch._C._create_graph_by_tracing(
            alone, inputs, _unnamed, True, False, argument_names=names
        )
    torch._C._jit_pass_inline(traced)
    program = torch._C.CompilationUnit().create_function("step", traced)

    def play(*now: Tensor) -> Shown:
        before = torch._C._get_graph_executor_optimize()  # of this thread
        torch._C._set_graph_executor_optimize(False)  # what torch would make of it takes longer than it saves
        try:
            shown: Shown = program(*now, *packed)
            return shown
        finally:
            torch._C._set_graph_executor_optimize(before)

    return play


def _unnamed(_: Tensor) -> str:
    """No value of a trace is called by its name here."""
    return ""


def _cuda_graph(step: Callable[..., Shown], given: tuple[Tensor, ...], pool: Any) -> Callable[..., Shown]:
    """One launch for the whole step; input and output lie where they lay when it was captured."""
    device = given[0].device
    with torch.cuda.device(device):  # a model may lie on another one than the current
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(REHEARSALS):
                step(*given)
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # another thread may decode meanwhile: what it does is none of this capture's business
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            shown = step(*given)

    def play(*now: Tensor) -> Shown:
        for mine, one in zip(given, now, strict=True):
            mine.copy_(one)
        graph.replay()
        return shown

    return play
