"""What is said of a chain's memory, from configs and headers, held against what it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, DynamicCache

import registry
from heads.anatomy import cache_argument
from heads.engines.choice import ENGINES, level_for, read_engine
from heads.engines.packing import packs
from heads.engines.slots import slot_bytes
from registry.pipeline import Pipeline
from tests.heads.models import VOCAB, tiny
from tests.pipeline.models import WEIGHTS, folder_model, lock, set_config

LONG = 10**13


def pico() -> Pipeline:
    """The embedded chain of three."""
    return registry.resolve_pipeline("pico-little", "pico-target")


def bytes_of(module: torch.nn.Module) -> int:
    """What its parameters take, each once."""
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_said_of_weights_is_what_they_take(dtype: str) -> None:
    """
    Of each model in the dtype it is loaded in, and of each head in its own, to the byte.
    """
    said = pico().memory(device="cpu", dtype=dtype)
    cascade = pico().load(device="cpu", dtype=dtype)

    assert [said.weights_of(model) for model in said.models] == [bytes_of(model) for model in cascade.models]
    assert list(said.heads.values()) == [bytes_of(head) for head in cascade.heads if head is not None]
    assert list(said.heads) == [head.name for head in pico().chain.heads]


def test_a_tied_output_layer_is_counted_once_though_it_is_stored(tmp_path: Path) -> None:
    """
    Some published models store both; they are one in memory. Shards say what one file says.
    """
    folder, catalog = folder_model(tmp_path)
    tensors = load_file(folder / WEIGHTS)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    lock(catalog)
    whole = registry.resolve_pipeline("mine", "mine", catalog=catalog)
    stored_twice = whole.memory(device="cpu").weights_bytes
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    (folder / WEIGHTS).unlink()
    loaded.save_pretrained(folder, max_shard_size="1MB")
    lock_path = lock(catalog)

    assert lock_path.exists()
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    sharded = registry.resolve_pipeline("mine", "mine", catalog=catalog).memory(device="cpu").weights_bytes
    assert stored_twice == sharded == bytes_of(loaded)


def test_what_is_said_of_caches_is_what_they_take() -> None:
    """
    Eagerly those of the text's positions; captured those of the next size, of which fused models have fewer.
    """
    cascade = pico().load(device="cpu")
    eager = pico().memory(device="cpu", engine="eager", max_length=200)

    taken = 0
    for model in cascade.models:
        cache: Any = DynamicCache()
        with torch.inference_mode():
            model(torch.ones(1, 200, dtype=torch.long), use_cache=True, **{cache_argument(model): cache})
        taken += sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert eager.caches_bytes == taken
    told: list[int] = []
    for engine in ENGINES[1:]:
        levels: list[Any] = [
            level_for(model, name=name, engine=read_engine(engine), top=model is cascade.models[-1])
            for model, name in zip(cascade.models, cascade.names, strict=True)
        ]
        told.append(pico().memory(device="cpu", engine=engine, max_length=200).caches_bytes)
        assert told[-1] == sum(level.bytes_for(200) for level in levels)
    assert told[0] < told[1]


@pytest.mark.skipif(not packs(torch.float32), reason="this processor multiplies by no packed weights")
def test_what_is_said_of_copies_is_at_least_what_they_take() -> None:
    """
    Of weights that are laid out anew while a text is made: all but embeddings that are no output layer.
    """
    cascade = pico().load(device="cpu", engine="captured")
    cascade.generate([5, 6, 7], max_new_tokens=12, max_draft=2, schedule="fixed")
    levels: list[Any] = cascade._levels

    taken = sum(level._copies.nbytes for level in levels)

    said = pico().memory(device="cpu", engine="captured", max_length=200).packed_bytes
    assert 0.7 * said < taken <= said


@pytest.mark.parametrize(
    "family", ["qwen2", "qwen3", "gpt_neox", "gpt2", "gemma2", "gemma3", "mistral", "cohere"]
)
def test_sizes_of_many_families_are_told_by_their_files(family: str, tmp_path: Path) -> None:
    """
    Weights and caches, from config.json and a header alone, are those of the model.
    """
    model = tiny(family)
    model.save_pretrained(tmp_path / "mine")
    catalog = tmp_path / "own.yaml"
    catalog.write_text(
        f"version: 1\nmodels:\n  mine: {{path: ./mine, hidden_size: 16, vocab_size: {VOCAB}}}\n"
    )
    lock(catalog)

    said = registry.resolve_pipeline("mine", "mine", catalog=catalog).memory(
        device="cpu", dtype="float32", max_length=9
    )

    assert (said.weights_bytes, said.caches_bytes) == (bytes_of(model), slot_bytes(model, 9))


@pytest.mark.parametrize(("bound", "positions"), [(1024, 1024), (LONG, 4096)], ids=["its own bound", "4096"])
def test_a_text_of_unknown_length_is_taken_to_be_long(tmp_path: Path, bound: int, positions: int) -> None:
    """
    As long as the models were made for, or 4096 positions where that is less.
    """
    folder, catalog = folder_model(tmp_path)
    set_config(folder, max_position_embeddings=bound)
    lock(catalog)

    assert registry.resolve_pipeline("mine", "mine", catalog=catalog).memory().positions == positions
