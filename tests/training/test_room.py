"""A full disk while a head is made: told as that, whatever a library makes of it, and nothing is lost."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from heads.head import AcceptancePredictionHead
from heads.training.learning import HeadTraining, train_head
from heads.training.plan import Plan
from heads.training.room import require_room, room_told
from heads.training.shards import Shards
from heads.training.storing import store_head
from registry.errors import CheckpointError, UsageError
from tests.training.test_learning import learnable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no limits on the size of files")

TRAINING = HeadTraining(batch_size=100, epochs=1, num_layers=3)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A place for a small file system of its own."""
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", where], check=False, capture_output=True)  # noqa: S607
    if mounted.returncode:
        pytest.skip("no file system may be mounted here, so none was filled")
    try:
        yield where
    finally:
        subprocess.run(["umount", "--lazy", where], check=True)  # noqa: S607


def sized(disk: Path, kilobytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", disk], check=True)  # noqa: S607


@contextmanager
def no_file_above(size_bytes: int) -> Iterator[None]:
    """No file may grow past that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("kilobytes", "by"), [(20, "iostream error"), (36, "unexpected pos"), (44, "No space left")]
)
def test_a_disk_that_fills_up_in_training_is_told_and_training_goes_on(
    disk: Path, kilobytes: int, by: str
) -> None:
    """
    The folder, what is needed and what is left, for each of torch's words; with room the same command ends.
    """
    sized(disk, kilobytes)
    positions, work = learnable(500, seed=1), disk / "work"

    with pytest.raises(UsageError) as caught:
        train_head(positions, None, training=TRAINING, work=work)
    sized(disk, 1000)
    trained = train_head(positions, None, training=TRAINING, work=work)

    assert by in str(caught.value.__cause__)
    assert f"to {work}: its disk is full; 2.8 kB are needed, 0.0 kB are left" in str(caught.value)
    assert "give the same command again" in str(caught.value)
    assert trained.trainer_state


def test_checkpoints_that_will_not_fit_are_refused_before_the_first(disk: Path) -> None:
    """
    Three lie there at one time: for fewer no step is made.
    """
    sized(disk, 8)

    with pytest.raises(UsageError, match=r"checkpoints need 8.4 kB, .* has 8.2 kB left"):
        train_head(learnable(500, seed=1), None, training=TRAINING, work=disk / "work")

    assert not list(disk.rglob("checkpoint-*"))


def test_a_head_that_cannot_be_stored_leaves_the_one_that_is_there(disk: Path) -> None:
    """
    What is new is put together beside it, and that is where the disk was full.
    """
    folder, head = disk / "a--to--b" / "run", AcceptancePredictionHead({"hidden_size": 32, "num_layers": 1})
    sized(disk, 40)
    store_head(head, folder, trainer_state=b"{}")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    with pytest.raises(
        UsageError, match=r"The head could not be written .* disk is full; 34.5 kB are needed"
    ):
        store_head(head, folder, trainer_state=b" " * 30_000)

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_shard_past_a_limit_is_told_and_those_before_stay(tmp_path: Path) -> None:
    """
    The index names the shards that are whole, in memory and on disk.
    """
    shards = Shards(tmp_path)
    shards.put("one", {"a": torch.zeros(10)}, rows=10)

    with no_file_above(2000), pytest.raises(UsageError) as caught:
        shards.put("two", {"a": torch.zeros(1000)}, rows=1000)

    assert f"two could not be written to {tmp_path}: no file may grow so large there; 4." in str(caught.value)
    assert "have that limit raised" in str(caught.value)
    assert list(shards.files) == list(Shards(tmp_path).files) == ["one"]


def test_a_plan_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    """
    The first thing that a training writes.
    """
    with no_file_above(0), pytest.raises(UsageError, match=r"plan.json could not be written"):
        Plan(facts={"seed": 0}).keep(tmp_path / "work")


def test_torch_that_cannot_write_though_there_is_room_is_not_called_a_full_disk(tmp_path: Path) -> None:
    """
    What may stand in the way is named instead.
    """
    with (
        no_file_above(6000),
        pytest.raises(UsageError, match="a quota or a limit on the size of files may stand in the way"),
        room_told(tmp_path, "It"),
    ):
        torch.save(torch.zeros(10_000), tmp_path / "a")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no space"),
        FileNotFoundError(2, "gone"),
        CheckpointError("x", path="y"),
        RuntimeError("CUDA"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_other_error_stays_as_it_is(tmp_path: Path, error: Exception) -> None:
    """
    Nothing is called a full disk that is none.
    """
    with pytest.raises(type(error)) as caught, room_told(tmp_path, "It"):
        raise error

    assert caught.value is error


def test_what_will_not_fit_is_refused_for_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    """
    The disk is that of the nearest folder above.
    """
    require_room(tmp_path / "a" / "b", 1, "They", "Make room.")
    with pytest.raises(UsageError, match=r"They need 1000000000.00 GB, .* left\. Make room\."):
        require_room(tmp_path / "a" / "b", 10**18, "They", "Make room.")
