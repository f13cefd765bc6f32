"""Kernels that torch.compile makes, in the place of the model's own."""

from __future__ import annotations

import shutil

import pytest
import torch

from heads.engines.captured import CapturedLevel
from heads.engines.eager import EagerLevel
from tests.heads.models import tiny


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++", "cl"))), reason="no C++ compiler here")
def test_a_compiled_level_says_what_the_model_says() -> None:
    """
    It is compiled, refused by nobody, and its rows and hidden states are the model's.
    """
    model = tiny(num_hidden_layers=1)
    fused = CapturedLevel(model, name="fused", query_lengths=(4,), fused=True)
    plain = EagerLevel(model, name="plain")
    for level in (fused, plain):
        level.begin()

    for tokens in ([5, 1, 8], [44], [17, 60, 2, 9]):
        shown, expected = fused.feed(tokens, 1), plain.feed(tokens, 1)
        assert torch.allclose(shown.logits, expected.logits, atol=1e-4)
        assert torch.allclose(shown.hidden, expected.hidden, atol=1e-4)
    assert fused.refusal is None


@pytest.mark.filterwarnings("ignore")
def test_every_length_of_query_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Three lengths, where torch compiles no piece of code more often than twice.
    """
    monkeypatch.setattr("torch._dynamo.config.recompile_limit", 2)
    compile_ = torch.compile
    made: list[int] = []

    def count(graph: torch.fx.GraphModule, _inputs: object) -> object:
        made.append(1)
        return graph.forward

    monkeypatch.setattr(
        torch,
        "compile",
        lambda step, **options: compile_(step, backend=count, **options),
    )
    level = CapturedLevel(tiny(num_hidden_layers=1), name="it", query_lengths=range(1, 4), fused=True)
    level.begin()

    for length in range(1, 4):
        level.feed([3] * length, 1)

    assert level.refusal is None
    assert len(made) >= 3
