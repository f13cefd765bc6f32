"""A base model's tensors held against its own config.json, and its index against its shards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from registry.lock import lock_folder
from registry.records import Finding, Model
from registry.report import ModelReport
from registry.verify import verify_model

MODEL = Model(alias="m", hidden_size=4, vocab_size=6)
CONFIG = {"hidden_size": 4, "vocab_size": 6, "num_hidden_layers": 2}
INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
Tensors = dict[str, Any]


def tensors() -> Tensors:
    """Those of a model of two layers."""
    shapes = {"model.embed_tokens.weight": (6, 4), "lm_head.weight": (6, 4), "model.norm.weight": (4,)}
    shapes |= {f"model.layers.{layer}.mlp.up_proj.weight": (8, 4) for layer in (0, 1)}
    return {name: np.ones(shape, np.float32) for name, shape in shapes.items()}


def write(folder: Path, content: Tensors, *, config: dict[str, Any] | None = None) -> Path:
    """A model in one file."""
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(save(content))
    (folder / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    return folder


def write_shards(folder: Path) -> Path:
    """The same in two files with an index."""
    folder.mkdir()
    names = sorted(tensors())
    parts = dict(zip(SHARDS, (names[:2], names[2:]), strict=True))
    for shard, held in parts.items():
        (folder / shard).write_bytes(save({name: tensors()[name] for name in held}))
    weights = {name: shard for shard, held in parts.items() for name in held}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weights}))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def report_on(folder: Path) -> ModelReport:
    """The report on a model whose files are all on record as they are."""
    return verify_model(MODEL, folder, entry=lock_folder(folder))


def finding(report: ModelReport, check: str) -> Finding:
    """One check of it."""
    return next(found for found in report.findings if found.check == check)


@pytest.mark.parametrize("sharded", [False, True], ids=["one file", "shards"])
def test_a_model_is_what_its_config_says(tmp_path: Path, sharded: bool) -> None:
    """
    Rows, columns and layers as config.json states, in one file or several, pass.
    """
    report = report_on(write_shards(tmp_path / "m") if sharded else write(tmp_path / "m", tensors()))

    assert report.ok
    assert {found.status for found in report.findings} == {"pass"}
    assert finding(report, "tensors").detail.endswith("2 layers")


def without(name: str) -> Tensors:
    """All tensors but one."""
    return {key: value for key, value in tensors().items() if key != name}


def other(name: str, shape: tuple[int, ...]) -> Tensors:
    """All tensors, one in another shape."""
    return {**tensors(), name: np.ones(shape, np.float32)}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (other("model.embed_tokens.weight", (5, 4)), "[6, 4], got [5, 4]"),
        (other("model.embed_tokens.weight", (6, 5)), "[6, 4], got [6, 5]"),
        (other("lm_head.weight", (4, 6)), "[6, 4], got [4, 6]"),
        (other("lm_head.weight", (24,)), "[6, 4], got [24]"),
        (without("model.layers.1.mlp.up_proj.weight"), "expected 2, got 1; layer 1 is missing"),
        (without("model.layers.0.mlp.up_proj.weight"), "expected 2, got 1; layer 0 is missing"),
        (
            {**tensors(), "model.layers.2.mlp.up_proj.weight": np.ones((8, 4), np.float32)},
            "expected 2, got 3; layer 2 is one too many",
        ),
    ],
)
def test_tensors_of_another_size_fail(tmp_path: Path, content: Tensors, said: str) -> None:
    """
    A row, a column or a layer more or less than config.json states is a fault, though the digests match.
    """
    found = finding(report_on(write(tmp_path / "m", content)), "tensors")

    assert found.status == "fail"
    assert said in found.detail


@pytest.mark.parametrize(
    ("config", "content"),
    [
        ({**CONFIG, "quantization_config": {"bits": 4}}, other("lm_head.weight", (3, 4))),
        ({**CONFIG, "word_embed_proj_dim": 2}, other("model.embed_tokens.weight", (6, 2))),
        ({}, tensors()),
        (CONFIG, {"strange": np.ones(3, np.float32)}),
    ],
    ids=["quantised", "factorised", "no sizes", "no known name"],
)
def test_what_cannot_be_told_is_unknown(tmp_path: Path, config: dict[str, Any], content: Tensors) -> None:
    """
    Where sizes do not tell how tensors are stored, nothing is judged and nothing passes.
    """
    report = report_on(write(tmp_path / "m", content, config=config))

    assert report.ok
    assert finding(report, "tensors").status == "unknown"


def test_layers_that_only_look_ahead_are_no_fault(tmp_path: Path) -> None:
    """
    A model may store layers past its own that predict further tokens, where its config says so.
    """
    content = {**tensors(), "model.layers.2.mlp.up_proj.weight": np.ones((8, 4), np.float32)}

    assert report_on(write(tmp_path / "m", content, config={**CONFIG, "num_nextn_predict_layers": 1})).ok


def test_tied_and_older_names_are_known(tmp_path: Path) -> None:
    """
    An output layer may be the embedding, and older models name sizes and layers otherwise.
    """
    content = {"wte.weight": np.ones((6, 4), np.float32), "h.0.ln_1.weight": np.ones(4, np.float32)}
    config = {"n_embd": 4, "vocab_size": 6, "n_layer": 1}

    assert finding(report_on(write(tmp_path / "m", content, config=config)), "tensors").status == "pass"


def test_a_number_that_is_not_finite_fails(tmp_path: Path) -> None:
    """
    With a record the numbers are read too, and NaN is a fault; without one they are unknown.
    """
    content = tensors()
    content["lm_head.weight"][5, 3] = np.nan
    folder = write(tmp_path / "m", content)

    found = finding(report_on(folder), "finite")

    assert (found.status, found.detail) == ("fail", "NaN or infinity in lm_head.weight")
    assert finding(verify_model(MODEL, folder, entry=None), "finite").status == "unknown"


def lose_a_line(folder: Path) -> None:
    """The index forgets one tensor."""
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"].pop("model.norm.weight")
    (folder / INDEX).write_text(json.dumps(index))


def another_shard(folder: Path) -> None:
    """A shard that the index does not know."""
    (folder / "model-00003-of-00003.safetensors").write_bytes(save({"more": np.ones(1, np.float32)}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / SHARDS[0]).unlink(), f"lists '{SHARDS[0]}', which is not here"),
        (lose_a_line, "does not list 'model.norm.weight'"),
        (another_shard, "does not list 'more'"),
        (lambda folder: (folder / INDEX).unlink(), f"{INDEX} is not here"),
    ],
    ids=["shard gone", "tensor unlisted", "shard unlisted", "index gone"],
)
def test_the_index_covers_every_shard(tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    """
    What the index lists is here, and what is here it lists: else a loader leaves part of the model out.
    """
    folder = write_shards(tmp_path / "m")
    spoil(folder)

    found = finding(report_on(folder), "format")

    assert found.status == "fail"
    assert said in found.detail


def test_another_format_beside_it_is_no_shard(tmp_path: Path) -> None:
    """
    One file that holds everything may have another beside it that no loader of the layout reads.
    """
    folder = write_shards(tmp_path / "m")
    (folder / "consolidated.safetensors").write_bytes(save({"w": np.ones(1, np.float32)}))

    assert finding(report_on(folder), "format").status == "pass"
