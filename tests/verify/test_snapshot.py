"""A head in the Hub's cache, which other tools fill too, and the steps that lead on from there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from registry.errors import CheckpointError, NotInstalledError
from registry.places import Place
from registry.verify import read_verified, verify_head
from tests.hub.conftest import EDGE, Machine
from tests.verify.conftest import WEIGHTS, Command

LEFT = ("training_args.bin", "CARD.md", "curve.png", "checkpoint-500/model.safetensors", "rng_state.pth")
READ = ("extra.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "adapter_config.json")


def put(machine: Machine, name: str) -> None:
    """Another tool's file in the head's folder."""
    path = machine.snapshot / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"another tool put it there")


@pytest.mark.parametrize("name", LEFT)
def test_what_no_loader_reads_is_told_and_is_no_fault(installed: Machine, name: str) -> None:
    """
    A file of the repository that our record left out may be put there by another tool.
    """
    put(installed, name)

    report = installed.shelf.verify_head(installed.head())

    (extra,) = [file for file in report.files if file.path == name]
    assert (extra.status, extra.fault) == ("unrecorded", False)
    assert report.ok


@pytest.mark.parametrize("name", READ)
def test_what_a_loader_might_read_is_a_fault(installed: Machine, name: str) -> None:
    """
    Weights and settings that are not in the record are extra, wherever they are from.
    """
    put(installed, name)

    report = installed.shelf.verify_head(installed.head())

    assert [(file.path, file.status) for file in report.files if file.fault] == [(name, "extra")]


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
def test_what_a_head_is_made_of_is_never_let_pass(installed: Machine, name: str) -> None:
    """
    A record without it does not make a file of the head itself harmless.
    """
    shelf, head = installed.shelf, installed.head()
    entry = shelf.lock.heads[EDGE]
    short = entry.model_copy(update={"files": {one: r for one, r in entry.files.items() if one != name}})

    report = verify_head(head, shelf.head_place(head), entry=short)

    assert [(file.path, file.status) for file in report.files if file.fault] == [(name, "extra")]


def test_a_recorded_file_is_missed_whatever_it_is(installed: Machine) -> None:
    """
    What may lie there unrecorded is still missed where the record has it.
    """
    put(installed, "training_args.bin")
    shelf, head = installed.shelf, installed.head()
    entry = shelf.lock.heads[EDGE]
    files = {**entry.files, "training_args.bin": entry.files["config.json"]}
    (installed.snapshot / "training_args.bin").unlink()

    report = verify_head(head, shelf.head_place(head), entry=entry.model_copy(update={"files": files}))

    assert [(file.path, file.status) for file in report.files if file.fault] == [
        ("training_args.bin", "missing")
    ]


def test_in_a_folder_of_your_own_every_file_counts(installed: Machine) -> None:
    """
    Nobody else puts files there, so that one that is not recorded is a fault.
    """
    put(installed, "training_args.bin")
    shelf, head = installed.shelf, installed.head()
    own = replace(shelf.head_place(head), kind="folder")

    assert not verify_head(head, own, entry=shelf.lock.heads[EDGE]).ok


def test_a_hub_head_without_a_record_is_downloaded_to_get_one(installed: Machine) -> None:
    """
    The refusal names the command that records a head of the Hub.
    """
    with pytest.raises(CheckpointError, match=f"`specreg download {EDGE}` checks it"):
        read_verified(installed.snapshot, None, (WEIGHTS,), subject=EDGE)


def test_a_folder_without_a_record_is_locked(tmp_path: Path) -> None:
    """
    What lies in a user's folder gets its record by `lock`.
    """
    with pytest.raises(CheckpointError, match="`specreg lock CATALOG` records"):
        read_verified(tmp_path, None, (WEIGHTS,), subject=EDGE)


@pytest.mark.parametrize(
    ("name", "step"), [(EDGE, f"`specreg download {EDGE}`"), ("a", "`specreg download a --models`")]
)
def test_what_is_missing_names_the_command_that_brings_it(name: str, step: str) -> None:
    """
    A head is downloaded by its name, and so is a model.
    """
    with pytest.raises(NotInstalledError) as caught:
        Place(folder=None, looked_in="the cache", kind="hub").installed(name)

    assert caught.value.next_step == f"{step} fetches it."


def test_the_step_for_a_missing_model_works(command: Command) -> None:
    """
    The command that a missing model names brings that model.
    """
    assert "`specreg download a --models`" in command("verify", "a").stderr

    assert command("download", "a", "--models").returncode == 0

    assert "is not on this machine" not in command("verify", "a").stderr


def test_a_pickled_head_is_told_how_to_be_converted(machine: Machine, command: Command) -> None:
    """
    Verification leaves a pickle unread, and says what reads it.
    """
    machine.download(number=1)

    assert "`specreg convert b--to--c/pickled`" in command("verify").stdout
