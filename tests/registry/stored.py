"""Checkpoints written for the tests: small, real, and easy to spoil."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from registry.records import Head, Model

Tensors = dict[str, npt.NDArray[Any]]

HIDDEN = 4
SOURCE_MODEL = Model(alias="a", hidden_size=HIDDEN, vocab_size=8, tokenizer="plain")
TARGET_MODEL = Model(alias="b", hidden_size=2 * HIDDEN, vocab_size=8, tokenizer="plain")


def head_entry(run: str, *, path: str | None = None) -> Head:
    """The catalog's entry of a head from `a` to `b`, its source called `here`."""
    return Head.model_validate({"source": "a", "target": "b", "run": run, "from": "here", "path": path})


HEAD = head_entry("exp-weight6-layer2")


def head_tensors(*, hidden: int = HIDDEN, depth: int = 2, dtype: str = "f4") -> Tensors:
    """Tensors of a head with separate blocks."""
    draw = np.random.default_rng(7)
    shapes: dict[str, tuple[int, ...]] = {}
    for block in range(depth):
        shapes[f"model.{block}.linear.weight"] = (hidden, hidden)
        shapes[f"model.{block}.linear.bias"] = (hidden,)
    shapes |= {f"model.{depth}.weight": (2, hidden), f"model.{depth}.bias": (2,)}
    return {name: draw.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def shared_tensors(depth: int) -> tuple[Tensors, dict[str, str]]:
    """Tensors and metadata of a head whose one block was stored once."""
    every = head_tensors(depth=depth)
    kept = {name: value for name, value in every.items() if name.startswith(("model.0.", f"model.{depth}."))}
    dropped = {name: f"model.0.{name.split('.', 2)[2]}" for name in every if name not in kept}
    return kept, {"format": "pt", **dropped}


def write_head(
    folder: Path,
    *,
    tensors: Mapping[str, npt.NDArray[Any]] | None = None,
    metadata: dict[str, str] | None = None,
    config: object = None,
) -> Path:
    """A head of HIDDEN wide and two blocks deep, unless told otherwise; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"hidden_size": HIDDEN, "num_layers": 2} if config is None else config
    (folder / "config.json").write_text(json.dumps(config))
    content = save(dict(head_tensors() if tensors is None else tensors), metadata or {"format": "pt"})
    (folder / "model.safetensors").write_bytes(content)
    return folder


def raw_file(header: object, data: bytes = b"") -> bytes:
    """A safetensors file of any header: text is taken as it stands, anything else as JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def flip_bit(content: bytes, position: int) -> bytes:
    """The same bytes but for one bit."""
    changed = bytearray(content)
    changed[position // 8] ^= 1 << position % 8
    return bytes(changed)
