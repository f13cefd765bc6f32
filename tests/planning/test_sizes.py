"""Sizes that the catalog does not tell, read from the files that are here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import registry
from registry.planning.sizes import sized_models, stored_parameters
from registry.shelf import Shelf

FAMILY = ("pico-little", "pico-draft", "pico-target")
UNSIZED = """
version: 1
models:
  pico-little: {package: heads, path: pico/pico-little, tokenizer: pico}
  pico-draft: {package: heads, path: pico/pico-draft, tokenizer: pico}
  pico-target: {package: heads, path: pico/pico-target, tokenizer: pico}
  elsewhere: {hub: nobody/elsewhere}
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """The embedded family without a word of its sizes."""
    path = tmp_path / "catalog.yaml"
    path.write_text(UNSIZED)
    return path


def test_headers_tell_what_the_catalog_does_not(catalog: Path) -> None:
    """
    As many as the built-in catalog says; of what is not here nothing is made up.
    """
    known, found = Shelf.open().catalog.models, sized_models(Shelf.open(catalog))

    assert all(Shelf.open(catalog).catalog.models[name].parameters is None for name in FAMILY)
    assert [found[name].parameters for name in FAMILY] == [known[name].parameters for name in FAMILY]
    assert found["elsewhere"].parameters is None


def test_a_plan_of_ones_own_models_needs_no_sizes(catalog: Path) -> None:
    """
    Where the files are here every chain is planned, with its memory, and no catalog tells of parameters.
    """
    found, usual = (registry.plan("pico-target", device="cpu", catalog=one) for one in (catalog, None))

    assert {one.models: one.memory_bytes for one in found.chains} == {
        one.models: one.memory_bytes for one in usual.chains
    }
    assert len(found.chains) == 4
    assert found.unknown == 0


def test_shards_count_together(tmp_path: Path) -> None:
    """
    All files that the index lists; numbers that are no weights do not count.
    """
    save_file({"a": np.zeros((3, 4), np.float32), "ids": np.zeros(7, np.int64)}, tmp_path / "one.safetensors")
    save_file({"b": np.zeros(5, np.float16)}, tmp_path / "two.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "ids": "one.safetensors", "b": "two.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))

    assert stored_parameters(tmp_path) == 17
    (tmp_path / "two.safetensors").unlink()
    assert stored_parameters(tmp_path) is None
