"""An old head, stored as a pickle: converted in the sandbox, or refused."""

from __future__ import annotations

import collections
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from heads import AcceptancePredictionHead, convert
from heads.checkpoint import load_head
from registry.errors import CheckpointError
from registry.files.layout import parse_head_config
from tests.convert.payloads import CONFIG, head_of, saved, state, write
from tests.convert.rooms import Lent, warm

ROOT = Path(__file__).parent.parent.parent


def converted(weights: bytes) -> AcceptancePredictionHead:
    safe = warm().convert(weights, parse_head_config(CONFIG), file="pytorch_model.bin")
    return load_head(CONFIG, safe, file="pytorch_model.bin", pickled=True)


@pytest.mark.parametrize("shared", [False, True], ids=["separate", "shared"])
def test_a_pickled_head_comes_back(tmp_path: Path, shared: bool) -> None:
    """
    Blocks that shared their memory are one block again, and stay so when saved.
    """
    head = head_of(shared=shared)

    loaded = converted(saved(head.state_dict()))

    assert (loaded.stored_form, loaded.shared) == ("pickled", shared)
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in head.state_dict().items())
    loaded.save_pretrained(tmp_path / "converted")
    again = AcceptancePredictionHead.from_pretrained(tmp_path / "converted")
    assert again.stored_form == ("shared" if shared else "separate")


def test_a_folder_with_a_pickle_alone_is_converted_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    `from_pretrained` converts it and says so; the second time it finds what was kept, and says nothing.
    """
    monkeypatch.setattr(convert, "Sandbox", Lent)
    head = head_of()
    folder = write(tmp_path / "old", saved(head.state_dict()))

    first = AcceptancePredictionHead.from_pretrained(folder)
    said = capsys.readouterr().err
    second = AcceptancePredictionHead.from_pretrained(folder)

    assert "stored as a pickle" in said
    assert capsys.readouterr().err == ""
    for loaded in (first, second):
        assert loaded.stored_form == "pickled"
        assert all(
            torch.equal(loaded.state_dict()[name], tensor) for name, tensor in head.state_dict().items()
        )
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "pytorch_model.bin"]


def test_safetensors_beside_a_pickle_are_what_is_read(tmp_path: Path) -> None:
    """
    A pickle is a last resort, not opened where it is not needed.
    """
    head_of().save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")

    assert AcceptancePredictionHead.from_pretrained(tmp_path).stored_form == "separate"


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_bytes_of_a_pickle_are_never_loaded(name: str) -> None:
    """
    Whatever the file is called, only safetensors make a head.
    """
    with pytest.raises(CheckpointError, match="no sound safetensors file"):
        load_head(CONFIG, saved(head_of().state_dict()), file=name)


def test_only_the_converters_program_unpickles() -> None:
    """
    `torch.load`, `pickle.load` and their like stand in one file, which nothing but the sandbox's program imports.
    """
    rooms = {
        path.relative_to(ROOT).as_posix(): path.read_text()
        for top in ("heads", "registry")
        for path in (ROOT / top).rglob("*.py")
    }
    loads = ("torch.load(", "pickle.load", "Unpickler(", "read_pickle(")

    assert [name for name, text in rooms.items() if any(load in text for load in loads)] == [
        "heads/pickled.py"
    ]
    assert [name for name, text in rooms.items() if "import read_pickled" in text] == ["heads/unpickler.py"]


def with_scrap(entry: str) -> bytes:
    stream = io.BytesIO(saved(state()))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(entry, b"")
    return stream.getvalue()


def compressed() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(state()))) as old, zipfile.ZipFile(stream, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry), zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def tied() -> bytes:
    partly = collections.OrderedDict(head_of().state_dict())
    partly["model.1.linear.weight"] = partly["model.0.linear.weight"]
    partly["model.1.linear.bias"] = partly["model.0.linear.bias"]
    return saved(partly)


def replaced(name: str, value: Any) -> Callable[[], bytes]:
    return lambda: saved(state(**{name: value}))


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        pytest.param(lambda: b"", "nothing that torch.save writes", id="empty"),
        pytest.param(lambda: b"PK\x03\x04", "no archive", id="the start of an archive"),
        pytest.param(
            lambda: saved(state(), _use_new_zipfile_serialization=False), "before version 1.6", id="old"
        ),
        pytest.param(compressed, "not one that torch.save writes", id="compressed"),
        pytest.param(lambda: with_scrap("archive/constants.pkl"), "TorchScript", id="TorchScript's entries"),
        pytest.param(lambda: with_scrap("../outside"), "outside", id="a path that leaves"),
        pytest.param(lambda: saved([1, 2]), "expected a dict of tensors, got list", id="no dict"),
        pytest.param(lambda: saved({"model": state()}), "'model' is not expected", id="nested"),
        pytest.param(lambda: saved({7: torch.zeros(1)}), "a key of type int", id="no name"),
        pytest.param(lambda: saved(state(extra=torch.zeros(1))), "'extra' is not expected", id="unexpected"),
        pytest.param(lambda: saved({"model.3.bias": torch.zeros(2)}), "is missing", id="missing"),
        pytest.param(replaced("model.3.bias", 7), "no plain tensor but int", id="no tensor"),
        pytest.param(replaced("model.3.bias", torch.zeros(3)), r"got \[3\]", id="shape"),
        pytest.param(replaced("model.3.bias", torch.zeros(2).long()), "floating dtype", id="integers"),
        pytest.param(
            replaced("model.0.linear.weight", torch.ones(4, 4).T[:]), "does not lie in one piece", id="turned"
        ),
        pytest.param(replaced("model.3.bias", torch.full((2,), torch.nan)), "not finite", id="not finite"),
        pytest.param(replaced("model.3.bias", torch.zeros(2).half()), "one dtype", id="mixed dtypes"),
        pytest.param(
            replaced("model.3.bias", torch.nn.Parameter(torch.zeros(2))), "Parameter", id="a parameter"
        ),
        pytest.param(tied, "some of its blocks are one", id="shared in part"),
    ],
)
def test_anything_but_plain_tensors_is_refused(make: Callable[[], bytes], problem: str) -> None:
    """
    Dense, contiguous CPU tensors of the names and shapes of the config, in torch's own plain archive.
    """
    with pytest.raises(CheckpointError, match=problem) as caught:
        converted(make())

    assert caught.value.problems
