"""What forwards and chains of published shapes cost, tried on a shape that fits anywhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from heads.bench import limits
from heads.bench.shapes import SHAPES, random_model, read_bytes

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Two tiny shapes, measured on a CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SHAPES, "tinier", replace(SHAPES["tiny"], layers=1))
        patch.setattr(limits, "COPIED_BYTES", 2**24)
        patch.setattr(limits, "REPEATS", 3)
        return limits.measured(
            ["tinier", "tiny"], device=CPU, dtype=torch.float32, queries=(1, 4), rates=(0.8,), longest_chain=2
        )


def test_forwards_are_held_against_what_the_memory_allows(document: dict[str, Any]) -> None:
    """
    Bytes read over bytes copied a second is the floor, and each time is told as a multiple of it.
    """
    tiny = document["models"]["tiny"]
    assert tiny["floor_ms"] == pytest.approx(1e3 * tiny["read_bytes"] / document["copy_bytes_per_second"])
    for engine in ("eager", "captured"):
        times = tiny["engines"][engine]
        assert times["over_floor"]["4"] == pytest.approx(times["forward_ms"]["4"] / tiny["floor_ms"])
    assert tiny["engines"]["captured"]["padded_to"] == {"1": 1, "4": 6}
    assert tiny["engines"]["captured"]["refusal"] is None


def test_chains_accept_at_the_rate_that_was_given(document: dict[str, Any]) -> None:
    """
    Rates are labelled synthetic, and the tokens a target forward yields are those of the rate.
    """
    plain, *chains = document["chains"]
    assert (plain["models"], plain["tokens_per_target_forward"]) == (["tiny"], 1.0)
    assert {tuple(one["models"]) for one in chains} == {("tinier", "tiny")}
    for one in chains:
        rate, length = one["synthetic_acceptance"], one["max_draft"][0]
        expected = (1 - rate ** (length + 1)) / (1 - rate)
        assert one["tokens_per_target_forward"] == pytest.approx(expected, rel=0.25)


def test_an_input_embedding_alone_is_not_read() -> None:
    """
    A forward looks up a few rows of it; where it is the output layer too, all of it counts.
    """
    tied = random_model(SHAPES["tiny"], device=CPU, dtype=torch.float32)
    untied = random_model(replace(SHAPES["tiny"], tied=False), device=CPU, dtype=torch.float32)

    assert read_bytes(tied) == read_bytes(untied)


def test_shapes_are_the_published_ones() -> None:
    """
    Their parameters are as many as the catalog says.
    """
    import registry

    models = registry.load_catalog().models
    for name in ("qwen3-0.6b", "qwen3-1.7b", "qwen3-14b"):
        model = random_model(SHAPES[name], device=torch.device("meta"), dtype=torch.bfloat16)
        assert model.num_parameters() == models[name].parameters
