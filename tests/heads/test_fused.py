"""Kernels that torch's compiler makes in the place of a model's small operators, and products that are made as one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.fx import GraphModule

from heads.engines import merging
from heads.engines.captured import CapturedLevel
from heads.engines.choice import query_lengths
from heads.engines.copies import Copies
from heads.engines.eager import EagerLevel
from heads.engines.fusion import Kernels
from heads.engines.operators import listened
from heads.engines.recording import record
from heads.level import Level
from tests.heads.models import tiny

COMPILER = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "cl"))), reason="no C++ compiler here"
)
FED = ([5, 1, 8], [44], [17, 60, 2, 9], [3])


def require_same_rows(fused: Level, plain: Level) -> None:
    """Logits and hidden states, also after something was taken back."""
    for level in (fused, plain):
        level.begin(40)
    for tokens in FED:
        shown, expected = fused.feed(tokens, len(tokens)), plain.feed(tokens, len(tokens))
        assert torch.allclose(shown.logits, expected.logits, atol=1e-4)
        assert torch.allclose(shown.hidden, expected.hidden, atol=1e-4)
        for level in (fused, plain):
            level.rollback(level.length - 1)


@COMPILER
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_level_says_what_the_model_says() -> None:
    """
    It is compiled, refused by nobody, and its rows and hidden states are the model's.
    """
    model = tiny("qwen3")
    fused = CapturedLevel(model, name="fused", query_lengths=(1, 4), fused=True)

    require_same_rows(fused, EagerLevel(model, name="plain"))

    assert fused.refusal is None


@pytest.mark.parametrize(
    "family",
    ["llama", "qwen2", "qwen3", "gpt_neox", "gpt2", "gemma", "gemma2", "gemma3", "mistral", "cohere", "opt"],
)
def test_levels_of_many_families_are_fused(family: str, uncompiled: list[GraphModule]) -> None:
    """
    Whatever stands between their products, biases included; windows, soft caps and learned positions too.
    """
    model = tiny(family)
    fused = CapturedLevel(model, name=family, query_lengths=(1, 3, 4), fused=True)

    require_same_rows(fused, EagerLevel(model, name="plain"))

    assert fused.refusal is None
    assert uncompiled
    assert fused._copies is not None
    assert (fused._copies.nbytes > 0) == (
        family not in {"gpt_neox", "gpt2"}
    )  # whose products are one already


def test_on_a_gpu_what_is_compiled_is_compiled_for_one_length() -> None:
    """
    A draft's too, which is fed one token most of the time: sixteen take no longer there.
    """
    lengths = partial(query_lengths, gpu=True, dtype=torch.bfloat16)

    assert lengths(top=False, fused=True) == lengths(top=True, fused=True) == lengths(top=True)
    assert lengths(top=False) != lengths(top=True)


def test_layers_that_are_alike_share_their_kernels(uncompiled: list[GraphModule]) -> None:
    """
    Six layers have as many kernels as three, for each length of query; a second cache of that size makes none anew.
    """
    kinds = []
    for layers in (3, 6):
        level = CapturedLevel(tiny(num_hidden_layers=layers), name="it", query_lengths=(1, 4), fused=True)
        level.warm_up(40, (1, 4))
        kinds.append(len(uncompiled))
        level.warm_up(40, (1, 4))
        assert len(uncompiled) == kinds[-1]
        uncompiled.clear()

    assert kinds[0] == kinds[1] <= 12


def test_no_process_compiles_without_end(uncompiled: list[GraphModule]) -> None:
    """
    What is new after so many kernels is played by the operators themselves.
    """
    kernels = Kernels(1)
    first = record(lambda now: (now + 1).sin().cos(), torch.ones(3), kernels=kernels)
    second = record(lambda now: (now + 1).cos().sin(), torch.ones(3), kernels=kernels)

    assert len(uncompiled) == len(kernels) == 1
    assert first(torch.zeros(3)).tolist() == torch.ones(3).sin().cos().tolist()
    assert second(torch.zeros(3)).tolist() == torch.ones(3).cos().sin().tolist()


def test_what_cannot_be_compiled_is_recorded_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    And told: a machine without a compiler decodes all the same.
    """

    def fail(*_given: Any, **_options: Any) -> Any:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr("heads.engines.fusion.torch.compile", fail)
    model = tiny()
    level = CapturedLevel(model, name="it", query_lengths=(1, 4), fused=True)

    require_same_rows(level, EagerLevel(model, name="plain"))

    assert level.engine == "captured"
    assert level.refusal is not None
    assert "no compiler here" in level.refusal


@pytest.mark.usefixtures("uncompiled")
def test_a_step_that_cannot_be_compiled_is_recorded_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Beside forwards that could be: it is not left to the host.
    """
    level = CapturedLevel(tiny(), name="it", query_lengths=(4,), fused=True)
    level.begin(40)
    level.feed([5, 1, 8], 1)

    def fail(*_given: Any, **_options: Any) -> Any:
        raise RuntimeError("no compiler here")

    def step(now: Tensor) -> tuple[Tensor, ...]:
        return ((now + 1).sin().cos(),)

    monkeypatch.setattr("heads.engines.fusion.torch.compile", fail)
    play = level.recorded(step, torch.ones(3))

    assert play is not step
    assert torch.equal(play(torch.zeros(3))[0], step(torch.zeros(3))[0])
    assert level.engine == "fused"
    assert level.refusal is not None


def products_of(step: Callable[..., Any], rows: Tensor, model: nn.Module) -> tuple[GraphModule, int]:
    """A step's graph with its products merged, and how many are left."""
    with torch.no_grad():
        graph = listened(step, rows)
    merging.merge(graph, Copies(model))
    called = [node.target for node in graph.graph.nodes]
    return graph, called.count(torch.ops.aten.mm.default) + called.count(torch.ops.aten.addmm.default)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("small", "left"), [(1 << 20, 1), (0, 3)], ids=["small", "large"])
def test_products_of_the_same_rows_are_one_where_weights_are_small(
    bias: bool, small: int, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Else they follow one another, and nothing stands between them.
    """
    monkeypatch.setattr(merging, "SMALL", small)
    model = nn.ModuleList(nn.Linear(6, out, bias=bias) for out in (4, 2, 4))
    rows = torch.randn(1, 3, 6)

    def step(now: Tensor) -> Tensor:
        first = model[0](now).sin().view(3, 2, 2)
        second = model[1](now).cos().view(3, 1, 2)
        return torch.cat((first, second, model[2](now).view(3, 2, 2)), dim=1)

    graph, found = products_of(step, rows, model)

    assert found == left
    names = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
    assert names.index("aten.sin.default") > max(place for place, name in enumerate(names) if "mm" in name)
    with torch.no_grad():
        assert torch.allclose(graph(rows), step(rows), atol=1e-6)


@pytest.mark.parametrize("turned", [False, True])
def test_products_are_apart_where_their_rows_are_written_to(turned: bool) -> None:
    """
    What was the same tensor holds other numbers then, also where it is a view of what was written to.
    """
    model = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(2))
    rows = torch.randn(4, 4)

    def step(now: Tensor) -> Tensor:
        own = now + 1
        shown = own.t() if turned else own
        first = model[0](shown)
        own.mul_(2)
        return first + model[1](shown)  # type: ignore[no-any-return]

    graph, found = products_of(step, rows, model)

    assert found == 2
    with torch.no_grad():
        assert torch.equal(graph(rows), step(rows))


def test_products_are_apart_where_parts_are_shown_by_strides() -> None:
    """
    A part of a product does not lie in one piece.
    """
    model = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(2))
    rows = torch.randn(3, 4)

    def step(now: Tensor) -> Tensor:
        return model[0](now).as_strided((2, 4), (4, 1)) + model[1](now)[:2]  # type: ignore[no-any-return]

    graph, found = products_of(step, rows, model)

    assert found == 2
    with torch.no_grad():
        assert torch.equal(graph(rows), step(rows))


WEIGHTS = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0)).unbind()
Own = list[Tensor]
Act = Callable[[Own, Tensor, Tensor, Tensor], object]
ACTS: dict[str, Act] = {
    "add": lambda own, one, other, _board: own.append(one + other),
    "halve": lambda own, one, _other, _board: own.append(one * 0.5),
    "bend": lambda own, one, _other, _board: own.append(one.sigmoid()),
    "mean": lambda own, one, _other, _board: own.append(one.mean(0, keepdim=True) - one),
    "turn": lambda own, one, _other, _board: own.append(one.t()),
    "multiply": lambda own, one, _other, _board: own.append(one @ WEIGHTS[0]),
    "multiply anew": lambda own, one, _other, _board: own.append(one @ WEIGHTS[1]),
    "multiply what was noted": lambda own, _one, _other, board: own.append(board @ WEIGHTS[len(own) % 2]),
    "write": lambda _own, one, _other, _board: one.add_(1),
    "parts": lambda own, one, _other, _board: own.append(torch.cat(one.split(2), dim=1).view(4, 4)),
    "note": lambda _own, one, _other, board: board.copy_(one.clone()),
    "shrink": lambda _own, _one, _other, board: board.mul_(0.5),
    "read": lambda own, one, _other, board: own.append(one + board),
    "look": lambda own, _one, _other, board: own.append(board.t()),
}  # fmt: skip
PROGRAMS = st.lists(
    st.tuples(st.sampled_from(sorted(ACTS)), st.integers(0, 9), st.integers(0, 9)), max_size=14
)


def played(program: list[tuple[str, int, int]], board: Tensor, now: Tensor) -> tuple[Tensor, ...]:
    """Does one act after another on what it has; gives all of that, and what it noted."""
    own = [now * 1]
    for act, one, other in program:
        ACTS[act](own, own[one % len(own)], own[other % len(own)], board)
    return (*(one.clone() for one in own), board.clone())


def same_as_the_step(program: list[tuple[str, int, int]]) -> None:
    """Recorded on one input, played on two."""
    boards = torch.zeros(4, 4), torch.zeros(4, 4)
    step = partial(played, program, boards[0])
    play = record(step, torch.ones(4, 4), kernels=Kernels(99), copies=Copies(nn.Module()))
    for seed in (1, 2):
        now = torch.randn(4, 4, generator=torch.Generator().manual_seed(seed))
        boards[1].copy_(boards[0])
        with torch.no_grad():
            expected = played(program, boards[1], now)
        for shown, wanted in zip(play(now), expected, strict=True):
            assert torch.allclose(shown, wanted, atol=1e-5)


@given(program=PROGRAMS)
@settings(max_examples=150, deadline=None)
def test_a_fused_step_does_what_the_step_does(program: list[tuple[str, int, int]]) -> None:
    """
    Whatever it computes, looks at another way, writes to its own or to what was there, in whatever order.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heads.engines.fusion.torch.compile", lambda module, **_options: module)
        same_as_the_step(program)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@given(program=PROGRAMS)
@settings(max_examples=12, deadline=None)
def test_so_it_does_when_torch_compiles_it(program: list[tuple[str, int, int]]) -> None:
    """
    As above, by torch's own tracer, which sorts out for itself what is written where.
    """
    compiled = partial(torch.compile, backend="aot_eager")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "heads.engines.fusion.torch.compile", lambda module, **_options: compiled(module, dynamic=False)
        )
        same_as_the_step(program)
