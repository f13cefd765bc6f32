"""`specreg lock`: a user's own heads get their record."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Outcome

ROOT = Path(__file__).parent.parent.parent
SHIPPED = "pico-little--to--pico-draft/exp-weight6-layer3"
HEAD = "pico-little--to--pico-draft/own-layer3"
Run = Callable[..., Outcome]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's catalog with one head in a folder beside it, without a lock."""
    shutil.copytree(ROOT / "heads" / "pico" / SHIPPED, tmp_path / "mine" / HEAD)
    (tmp_path / "own.yaml").write_text(
        "version: 1\nsources:\n  mine: {path: ./mine}\nheads:\n"
        "  - {source: pico-little, target: pico-draft, run: own-layer3, from: mine}\n"
    )
    return tmp_path / "own.yaml"


def test_a_head_of_ones_own_decodes_once_it_is_recorded(specreg: Run, own: Path) -> None:
    """
    Before the lock it is refused with the way out, after it it decodes.
    """
    chain = ("pico-little", "pico-draft", "--run", "own-layer3", "--catalog", str(own))
    decode = ("decode", *chain, "--prompt", "x", "--max-new-tokens", "2")
    refused = specreg(*decode)
    locked = specreg("lock", str(own))

    assert refused.code == 1
    assert "specreg lock" in refused.err
    assert locked.code == 0
    assert specreg(*decode).code == 0


def test_check_finds_what_changed_and_writes_nothing(specreg: Run, own: Path) -> None:
    """
    After a change of one file --check ends with 1, names the head and leaves the lock alone.
    """
    specreg("lock", str(own))
    before = own.with_suffix(".lock").read_bytes()
    sound = specreg("lock", str(own), "--check")
    assert (sound.code, sound.out.split(":")[0]) == (0, "1 checkpoint, 0 changed")
    (own.parent / "mine" / HEAD / "config.json").write_text('{"hidden_size": 192, "num_layers": 2}')

    found = specreg("lock", str(own), "--check", "--json")

    assert found.code == 1
    assert json.loads(found.out)["changed"] == [HEAD]
    assert own.with_suffix(".lock").read_bytes() == before


def test_the_shipped_lock_holds(specreg: Run) -> None:
    """
    The lock at the top is the one that its own command would write.
    """
    found = specreg("lock", str(ROOT / "catalog.yaml"), "--check", "--local", "--json")

    assert found.code == 0
    assert len(json.loads(found.out)["recorded"]) == 6


def test_a_folder_that_is_not_there_is_said(specreg: Run, own: Path) -> None:
    """
    A head whose folder is missing ends with 2, and nothing is written.
    """
    shutil.rmtree(own.parent / "mine")

    found = specreg("lock", str(own))

    assert found.code == 2
    assert HEAD in found.err
    assert not own.with_suffix(".lock").exists()


@pytest.mark.parametrize("options", [(), ("--check",)], ids=["lock", "check"])
def test_a_file_that_cannot_be_read_is_no_difference(
    specreg: Run, own: Path, options: tuple[str, ...]
) -> None:
    """
    A named pipe in a head's folder ends with 2: a script can tell it from the 1 of a lock that differs.
    """
    os.mkfifo(own.parent / "mine" / HEAD / "notes")

    found = specreg("lock", str(own), *options)

    assert found.code == 2
    assert "notes: expected a regular file, got a named pipe" in found.err
    assert not own.with_suffix(".lock").exists()


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("kind", ["head", "model"])
def test_what_is_not_whole_is_not_recorded(specreg: Run, own: Path, kind: str, missing: str) -> None:
    """
    A head or a model in a folder without config.json or weights could never be verified: no lock, and 2.
    """
    folder = own.parent / "mine" / HEAD
    if kind == "model":
        shutil.copytree(ROOT / "heads" / "pico" / "pico-little", own.parent / "little")
        own.write_text(own.read_text() + "models:\n  mine: {path: ./little}\n")
        folder = own.parent / "little"
    (folder / missing).unlink()
    (folder / "training_args.bin").write_bytes(b"no weights")

    found = specreg("lock", str(own))

    assert found.code == 2
    assert f"{HEAD if kind == 'head' else 'mine'} in " in found.err
    assert missing in found.err
    assert not own.with_suffix(".lock").exists()


@pytest.mark.parametrize("damage", ["cut", "hello"])
@pytest.mark.parametrize("kind", ["head", "model"])
def test_what_is_damaged_is_not_recorded(specreg: Run, own: Path, kind: str, damage: str) -> None:
    """
    Weights that could never be loaded are refused by their name, and not recorded as if they were meant to be so.
    """
    folder = own.parent / "mine" / HEAD
    if kind == "model":
        shutil.copytree(ROOT / "heads" / "pico" / "pico-little", own.parent / "little")
        own.write_text(own.read_text() + "models:\n  mine: {path: ./little}\n")
        folder = own.parent / "little"
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] if damage == "cut" else b"hello")

    found = specreg("lock", str(own))

    assert found.code == 2
    assert (
        f"{HEAD if kind == 'head' else 'mine'} in {folder} cannot be recorded: model.safetensors" in found.err
    )
    assert not own.with_suffix(".lock").exists()


def test_what_was_damaged_since_differs_from_the_lock(specreg: Run, own: Path) -> None:
    """
    That is what --check looks for: it ends with 1.
    """
    specreg("lock", str(own))
    (own.parent / "mine" / HEAD / "model.safetensors").write_bytes(b"hello")

    found = specreg("lock", str(own), "--check")

    assert found.code == 1
    assert f"changed\t{HEAD}/model.safetensors" in found.out


@pytest.mark.parametrize("weights", ["pytorch_model.bin", "model.safetensors"])
def test_either_kind_of_weights_makes_a_whole_head(specreg: Run, own: Path, weights: str) -> None:
    """
    A head that was published as a pickle is recorded as it is; what becomes of it is the converter's matter.
    """
    folder = own.parent / "mine" / HEAD
    (folder / "model.safetensors").rename(folder / weights)

    assert specreg("lock", str(own)).code == 0


def test_a_head_from_a_source_of_the_catalog_below_is_recorded(specreg: Run, tmp_path: Path) -> None:
    """
    What counts is which file names the head, not which file names its source; heads of other files are left out.
    """
    file = tmp_path / "own.yaml"
    file.write_text(
        "version: 1\nheads:\n  - {source: pico-little, target: pico-draft, run: again, from: pico, "
        f"path: {SHIPPED}}}\n"
    )

    found = specreg("lock", str(file), "--json")

    assert json.loads(found.out)["recorded"] == ["pico-little--to--pico-draft/again"]
    shipped = json.loads((ROOT / "catalog.lock").read_text())["heads"][SHIPPED]
    assert (
        json.loads(file.with_suffix(".lock").read_text())["heads"]["pico-little--to--pico-draft/again"]
        == shipped
    )


def test_a_model_that_is_nowhere_stops_no_lock(specreg: Run, own: Path) -> None:
    """
    A model of which only facts are known has nothing to record.
    """
    own.write_text(own.read_text() + "models:\n  marked: {hidden_size: 8}\n")

    assert specreg("lock", str(own), "--models").code == 0


def test_names_narrow_what_is_looked_at(specreg: Run, own: Path) -> None:
    """
    A head named is recorded alone; a name that is not the file's own is a fault.
    """
    assert specreg("lock", str(own), HEAD).code == 0
    unknown = specreg("lock", str(own), "pico-draft--to--pico-target")

    assert unknown.code == 1
    assert "No head of this catalog file" in unknown.err
