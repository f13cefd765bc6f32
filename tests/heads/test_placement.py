"""What a chain needs of memory, said before it is taken; and where its models then lie."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import registry
from heads.cascade import Cascade
from heads.engines.choice import level_for
from heads.engines.packing import packs
from heads.memory import Memory, readable
from heads.models import load_registered_model
from heads.placement import require_room
from heads.runtime import load_cascade, warm_up
from registry.errors import CheckpointError, IncompatibleError, SpecregError, UsageError
from registry.pipeline import Pipeline
from tests.heads.models import tiny
from tests.pipeline.models import WEIGHTS, folder_model, lock, set_config

PROMPT = "def read(path):\n"
LONG = 10**13


def pico(**narrowing: Any) -> Pipeline:
    """The embedded chain of three."""
    return registry.resolve_pipeline("pico-little", "pico-target", **narrowing)


def endless(tmp_path: Path) -> Path:
    """The catalog of a recorded model `mine` that was made for any number of positions."""
    folder, catalog = folder_model(tmp_path)
    set_config(folder, max_position_embeddings=LONG)
    lock(catalog)
    return catalog


def test_what_does_not_fit_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    """
    With the sum, what is free, and the longest text that fits; damaged weights are not found out, as none was read.
    """
    catalog = endless(tmp_path)
    weights = tmp_path / "models" / "mine" / WEIGHTS
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    pipeline = registry.resolve_pipeline("mine", "mine", catalog=catalog)

    with pytest.raises(UsageError) as caught:
        pipeline.load(device="cpu", max_length=LONG)

    said = re.search(r"It fits with --max-length (\d+)\.", str(caught.value))
    assert said is not None
    assert re.match(r"mine needs [\d.]+ TB, got [\d.]+ [GM]B free on cpu \(", str(caught.value))
    assert "Nothing was loaded" in str(caught.value)
    longest = int(said.group(1))
    memory = pipeline.memory(device="cpu", max_length=longest)
    assert memory.free_bytes is not None
    assert memory.needed_bytes == pytest.approx(memory.free_bytes, rel=0.2)  # others take and give meanwhile


def test_what_is_needed_is_told_before_weights_are_read(tmp_path: Path) -> None:
    """
    Damaged weights are found out after that line was shown, and not before.
    """
    folder, catalog = folder_model(tmp_path)
    lock(catalog)
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    told: list[Memory | None] = []

    with pytest.raises(CheckpointError, match=re.escape(WEIGHTS)):
        load_cascade(
            registry.resolve_pipeline("mine", "mine", catalog=catalog), device="cpu", told=told.append
        )

    assert [memory is not None for memory in told] == [True]


def test_the_longest_text_that_fits_is_the_last_that_does(tmp_path: Path) -> None:
    """
    One position more is refused.
    """
    memory = registry.resolve_pipeline("mine", "mine", catalog=endless(tmp_path)).memory(
        device="cpu", engine="captured", max_length=LONG
    )

    longest = memory.longest()

    assert replace(memory, positions=longest).fits
    assert not replace(memory, positions=longest + 1).fits


def test_a_smaller_dtype_is_named_where_it_is_enough() -> None:
    """
    With its own sum; where only both together are, a shorter text in that dtype.
    """
    memory = pico().memory(device="cpu", dtype="float32", max_length=100)
    half = replace(memory, dtype=torch.bfloat16)
    between = replace(memory, free={"cpu": (half.needed_bytes + memory.needed_bytes) // 2})
    tight = replace(memory, free={"cpu": half.needed_bytes - 1})

    with pytest.raises(UsageError) as roomy:
        require_room(between, everywhere={})
    with pytest.raises(UsageError) as narrow:
        require_room(tight, everywhere={})

    assert f"It fits with --dtype bfloat16 ({readable(half.needed_bytes)})" in str(roomy.value)
    assert (
        f"It fits with --dtype bfloat16 --max-length {replace(tight, dtype=torch.bfloat16).longest()}."
        in str(narrow.value)
    )


@pytest.mark.skipif(not packs(torch.float32), reason="this processor multiplies by no packed weights")
def test_the_eager_engine_is_named_where_copies_of_weights_are_too_many() -> None:
    """
    It lays nothing out anew.
    """
    captured = pico().memory(device="cpu", dtype="float32", engine="captured", max_length=100)
    eager = replace(captured, engine="eager")
    between = replace(captured, free={"cpu": (eager.needed_bytes + captured.needed_bytes) // 2})

    with pytest.raises(UsageError, match=rf"--engine eager \({readable(eager.needed_bytes)}\)"):
        require_room(between, everywhere={})
    assert captured.packed_bytes == captured.weights_bytes
    assert "of copies laid out for few tokens" in captured.parts


def test_on_a_gpu_the_captured_engine_is_named_where_fused_copies_are_too_many() -> None:
    """
    There it copies no weights.
    """
    many = replace(pico().memory(device="cpu", dtype="float32", max_length=100), free={"cuda:0": None})
    models = tuple(replace(model, matrices=(4 << 20,) * 100) for model in many.models)
    fused = replace(many, models=models, engine="fused")
    captured = replace(fused, engine="captured")
    tight = replace(fused, free={"cuda:0": (captured.needed_bytes + fused.needed_bytes) // 2})

    with pytest.raises(UsageError, match=rf"--engine captured \({readable(captured.needed_bytes)}\)"):
        require_room(tight, everywhere={})


def test_fused_models_copy_their_small_weights() -> None:
    """
    Which of them are small depends on the dtype: of 6 million numbers each, those of two bytes.
    """
    memory = pico().memory(device="cpu", dtype="float32", engine="fused", max_length=100)
    large = replace(memory, models=tuple(replace(model, matrices=(6_000_000,)) for model in memory.models))

    assert 0.9 * memory.weights_bytes < memory.packed_bytes <= memory.weights_bytes
    assert large.packed_bytes == 0
    assert replace(large, dtype=torch.bfloat16).packed_bytes == 3 * 12_000_000


def test_several_devices_are_named_where_they_are_enough_together() -> None:
    """
    With what is free on all of them; a first device too small for the drafts does not help.
    """
    memory = pico().memory(device="cpu", max_length=100)
    small = replace(memory, free={"cuda:0": memory.needed_bytes - 1})
    spare = {"cuda:0": 1 << 30, "cuda:1": 1 << 30}

    with pytest.raises(UsageError, match=r"--device-map auto \(2\.1 GB free on cuda:0 and cuda:1\)"):
        require_room(small, everywhere=spare)
    with pytest.raises(UsageError) as caught:
        require_room(small, everywhere={**spare, "cuda:0": 1 << 20})

    assert "--device-map" not in str(caught.value)


def test_where_nothing_is_known_nothing_is_refused() -> None:
    """
    A device that does not tell what is free is taken at its word later.
    """
    memory = replace(pico().memory(device="cpu"), free={"mps": None}, positions=LONG)

    require_room(memory)

    assert "an unknown amount free on mps" in str(memory)


def test_all_but_the_target_must_fit_its_first_device() -> None:
    """
    Room elsewhere does not help what cannot be spread.
    """
    memory = replace(pico().memory(device="cpu", max_length=100), free={"cuda:0": 1 << 20, "cpu": 1 << 40})

    with pytest.raises(UsageError, match=r"beside the target's weights, got 1\.0 MB free on cuda:0"):
        require_room(memory)


def test_device_map_auto_places_all_on_the_host_where_there_is_no_gpu() -> None:
    """
    transformers' own rule decides; the text is the same.
    """
    spread = pico().load(device_map="auto", dtype="float32")
    usual = pico().load(dtype="float32")

    assert {model.device for model in spread.models} == {usual.models[-1].device}
    assert (
        spread.generate(PROMPT, max_new_tokens=16).token_ids
        == usual.generate(PROMPT, max_new_tokens=16).token_ids
    )


def test_a_model_in_a_folder_is_spread_too(tmp_path: Path) -> None:
    """
    transformers reads the recorded files alone, whatever it places.
    """
    _, catalog = folder_model(tmp_path)
    lock(catalog)

    cascade = registry.resolve_pipeline("mine", "mine", catalog=catalog).load(device_map="auto")

    assert cascade.generate(PROMPT, max_new_tokens=4).new_tokens == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device_map": "auto", "device": "cpu"}, "Give one or the other"),
        ({"device_map": "balanced"}, "'auto'"),
    ],
    ids=["a device beside it", "another map"],
)
def test_a_map_that_cannot_be_is_refused(options: dict[str, Any], said: str) -> None:
    """
    Before anything is loaded.
    """
    with pytest.raises(UsageError, match=said):
        pico().load(**options)


def test_what_does_not_fit_the_devices_is_not_left_on_the_disk(tmp_path: Path) -> None:
    """
    Weights on the disk would be read unverified at every forward.
    """
    _, catalog = folder_model(tmp_path)
    lock(catalog)
    pipeline = registry.resolve_pipeline("mine", "mine", catalog=catalog)

    with pytest.raises(UsageError, match="some left for the disk"):
        load_registered_model(
            pipeline.shelf,
            pipeline.chain.models[0],
            device=torch.device("cpu"),
            dtype=torch.float32,
            spread=True,
            within={"cpu": 3_000_000},
        )


def test_a_model_in_several_places_is_not_captured() -> None:
    """
    Asked for by name it is refused with the way out.
    """
    model = tiny()
    model.lm_head.to("meta")

    with pytest.raises(IncompatibleError, match=r"on cpu, meta \(offloaded\).*Leave the engine out"):
        level_for(model, name="the target", engine="captured", top=True)


def test_a_text_too_long_for_the_models_is_refused_before_anything_is_recorded() -> None:
    """
    No bar is drawn for it either.
    """
    cascade = registry.resolve_pipeline("pico-little", "pico-little").load(device="cpu", engine="captured")

    with pytest.raises(SpecregError, match="1024 positions"):
        warm_up(cascade, "x", {"max_new_tokens": 2000}, prompt_tokens=4, bar=_no_bar)


def _no_bar(total: int, what: str) -> Any:
    raise AssertionError((total, what))


def _target_split(pipeline: Pipeline, within: dict[int | str, int]) -> Any:
    return load_registered_model(
        pipeline.shelf,
        pipeline.chain.models[-1],
        device=torch.device("cuda", 0),
        dtype=torch.float32,
        spread=True,
        within=within,
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("beside", ["cpu", 1], ids=["a GPU and the host", "two GPUs"])
def test_a_target_over_several_devices_writes_what_it_writes_on_one(beside: int | str) -> None:
    """
    It runs eagerly, its drafts captured beside its first layers.
    """
    if beside == 1 and torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs: this one shares the target with the host only")
    pipeline = pico()
    target = _target_split(pipeline, {0: 16_000_000, beside: 1 << 34})
    whole = pipeline.load(device="cuda:0", dtype="float32", engine="eager")
    spread = Cascade([*whole.models[:-1], target], whole.heads, whole.tokenizer, names=whole.names)

    assert len(set(target.hf_device_map.values())) == 2
    assert target.get_input_embeddings().weight.device == torch.device("cuda", 0)
    assert spread.engines == ("captured", "captured", "eager")
    assert (
        spread.generate(PROMPT, max_new_tokens=24).token_ids
        == whole.generate(PROMPT, max_new_tokens=24).token_ids
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "options",
    [{"device": "cuda"}, {"device": "cuda", "engine": "eager"}, {"device_map": "auto"}],
    ids=["captured", "eager", "auto"],
)
def test_a_gpu_gives_no_more_than_was_said(options: dict[str, Any]) -> None:
    """
    What torch has taken of it after a text is within the sum.
    """
    said: Memory = pico().memory(**options, max_length=512)
    torch.cuda.empty_cache()
    before = torch.cuda.mem_get_info()[0]

    cascade = pico().load(**options, max_length=512)
    cascade.generate([1] * 256, max_new_tokens=256)

    assert {model.device.type for model in cascade.models} == {"cuda"}
    assert before - torch.cuda.mem_get_info()[0] <= said.needed_bytes


def test_a_device_and_a_dtype_may_be_torchs_own() -> None:
    """
    As well as their names; one that models are not loaded in is refused by its name.
    """
    pipeline = registry.resolve_pipeline("pico-little", "pico-little")
    options: dict[str, Any] = {"device": torch.device("cpu"), "dtype": torch.bfloat16}

    memory = pipeline.memory(**options)
    assert (memory.dtype, list(memory.free)) == (torch.bfloat16, ["cpu"])
    assert pipeline.load(**options).models[0].dtype == torch.bfloat16
    with pytest.raises(UsageError, match=r"dtype must be one of float32, bfloat16, float16, got torch\.int8"):
        pipeline.load(dtype=torch.int8)


def test_models_that_were_loaded_say_where_from() -> None:
    """
    A cascade made of them anew calls them after their folders, and not all alike.
    """
    loaded = registry.resolve_pipeline("pico-little", "pico-target", length=2).load(device="cpu")

    assert [Path(name).name for name in Cascade(loaded.models).names] == ["pico-little", "pico-target"]
