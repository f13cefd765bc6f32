"""An old head, stored as a pickle: read as tensors, or refused."""

from __future__ import annotations

import collections
import io
import json
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from heads import AcceptancePredictionHead
from heads.checkpoint import load_head
from registry.errors import CheckpointError

SIZES = {"hidden_size": 4, "num_layers": 3}
CONFIG = json.dumps(SIZES).encode()


def head_of(*, shared: bool = False) -> AcceptancePredictionHead:
    torch.manual_seed(0)
    return AcceptancePredictionHead(SIZES, shared=shared)


def saved(content: object, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def load(weights: bytes) -> AcceptancePredictionHead:
    return load_head(CONFIG, weights, file="pytorch_model.bin")


@pytest.mark.parametrize("shared", [False, True], ids=["separate", "shared"])
def test_a_pickled_head_comes_back(tmp_path: Path, shared: bool) -> None:
    """
    With no safetensors beside it; blocks that shared their memory are one block again, and stay so when saved.
    """
    head = head_of(shared=shared)
    torch.save(head.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_bytes(CONFIG)

    loaded = AcceptancePredictionHead.from_pretrained(tmp_path)

    assert (loaded.stored_form, loaded.shared) == ("pickled", shared)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in head.state_dict().items())
    loaded.save_pretrained(tmp_path / "converted")
    again = AcceptancePredictionHead.from_pretrained(tmp_path / "converted")
    assert again.stored_form == ("shared" if shared else "separate")


def test_safetensors_beside_a_pickle_are_what_is_read(tmp_path: Path) -> None:
    """
    A pickle is a last resort, not opened where it is not needed.
    """
    head_of().save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")

    assert AcceptancePredictionHead.from_pretrained(tmp_path).stored_form == "separate"


def test_a_pickle_under_another_name_is_not_opened() -> None:
    """
    What is called model.safetensors is read as that, or refused.
    """
    with pytest.raises(CheckpointError, match="no sound safetensors file"):
        load_head(CONFIG, saved(head_of().state_dict()), file="model.safetensors")


class Marks:
    """Unpickled without care, it makes a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.place),)


def with_scrap(state: dict[str, Any], entry: str, content: bytes) -> bytes:
    stream = io.BytesIO(saved(state))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(entry, content)
    return stream.getvalue()


def test_nothing_in_a_pickle_is_run(tmp_path: Path) -> None:
    """
    A payload in a state dict, in a bare pickle or in the old format leaves no trace but the refusal.
    """
    place = tmp_path / "ran"
    state = {**head_of().state_dict(), "model.3.bias": Marks(place)}
    payloads = [
        saved(state),
        pickle.dumps(Marks(place)),
        saved(state, _use_new_zipfile_serialization=False),
        saved(Marks(place)),
    ]

    for payload in payloads:
        with pytest.raises(CheckpointError):
            load(payload)
        assert not place.exists()


def changed(**changes: Any) -> dict[str, Any]:
    return {**head_of().state_dict(), **changes}


def compressed() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(changed()))) as old, zipfile.ZipFile(stream, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry), zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    return stream.getvalue()


def expanded() -> torch.Tensor:
    return torch.zeros(1).expand(4, 4)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: b"", id="empty"),
        pytest.param(lambda: b"PK\x03\x04", id="the start of an archive"),
        pytest.param(lambda: saved(changed(), _use_new_zipfile_serialization=False), id="the old format"),
        pytest.param(tar, id="tar"),
        pytest.param(compressed, id="compressed"),
        pytest.param(lambda: with_scrap(changed(), "archive/constants.pkl", b""), id="TorchScript's entries"),
        pytest.param(lambda: with_scrap(changed(), "../outside", b""), id="a path that leaves"),
        pytest.param(lambda: saved([1, 2]), id="no dict"),
        pytest.param(lambda: saved({"model": changed()}), id="nested"),
        pytest.param(lambda: saved(changed(extra=torch.zeros(1))), id="unexpected"),
        pytest.param(lambda: saved({"model.3.bias": torch.zeros(2)}), id="missing"),
        pytest.param(lambda: saved(changed(**{"model.3.bias": 7})), id="no tensor"),
        pytest.param(lambda: saved(changed(**{"model.3.bias": torch.zeros(3)})), id="shape"),
        pytest.param(
            lambda: saved(changed(**{"model.3.bias": torch.zeros(2, dtype=torch.long)})), id="integers"
        ),
        pytest.param(
            lambda: saved(changed(**{"model.0.linear.weight": torch.zeros(4, 4).to_sparse()})), id="sparse"
        ),
        pytest.param(
            lambda: saved(changed(**{"model.0.linear.weight": expanded()})), id="one number, expanded"
        ),
        pytest.param(
            lambda: saved(changed(**{"model.0.linear.weight": torch.ones(4, 4).T[:]})), id="transposed"
        ),
        pytest.param(
            lambda: saved(changed(**{"model.3.bias": torch.full((2,), torch.nan)})), id="not finite"
        ),
        pytest.param(lambda: saved(changed(**{"model.3.bias": torch.zeros(2).half()})), id="mixed dtypes"),
        pytest.param(
            lambda: saved(changed(**{"model.3.bias": torch.nn.Parameter(torch.zeros(2))})), id="a parameter"
        ),
    ],
)
def test_anything_but_plain_tensors_is_refused(make: Callable[[], bytes]) -> None:
    """
    Dense, contiguous CPU tensors of the names and shapes of the config, in torch's own plain archive.
    """
    with pytest.raises(CheckpointError) as caught:
        load(make())

    assert caught.value.problems


def test_blocks_shared_in_part_are_refused() -> None:
    """
    Either all blocks are one, or none is another.
    """
    state = collections.OrderedDict(head_of().state_dict())
    state["model.1.linear.weight"] = state["model.0.linear.weight"]
    state["model.1.linear.bias"] = state["model.0.linear.bias"]

    with pytest.raises(CheckpointError, match="some of its blocks are one"):
        load(saved(state))
