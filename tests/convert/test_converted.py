"""Conversions on disk: there whole or not at all, used only when they are what they were."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from registry.converted import (
    ConversionRecord,
    Origin,
    conversion_folder,
    find_conversion,
    keep_conversion,
    record_of,
    write_conversion,
)
from registry.errors import CheckpointError, UsageError

PICKLE = record_of(b"a pickle")
FILES = (b"{}", b"weights")


def record(config: bytes = FILES[0], weights: bytes = FILES[1]) -> ConversionRecord:
    """A record of files whose content nobody looks into."""
    return ConversionRecord(
        origin=Origin(folder="somewhere"),
        pickle=PICKLE,
        config=record_of(config),
        weights=record_of(weights),
        stored_form="separate blocks",
        torch="2",
        specreg="0",
        when="2026-01-01T00:00:00+00:00",
    )


def test_what_was_kept_is_found() -> None:
    """
    Under the sha256 of the pickle, with its record, and nothing else lies there.
    """
    assert find_conversion(PICKLE.sha256) is None

    folder = keep_conversion(record(), *FILES)
    found = find_conversion(PICKLE.sha256)

    assert found is not None
    assert (found.folder, found.record, found.weights) == (folder, record(), b"weights")
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "conversion.json",
        "model.safetensors",
    ]
    assert [path.name for path in folder.parent.iterdir()] == [PICKLE.sha256]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("model.safetensors", b"weightS", "expected sha256"),
        ("model.safetensors", b"weights!", "expected 7 bytes, got 8"),
        ("config.json", b"[]", "expected sha256"),
        ("conversion.json", b"{", "not JSON"),
        ("conversion.json", b"{}", "Field required"),
        ("conversion.json", b'{"a": 1, "a": 1}', "stands twice"),
    ],
)
def test_a_changed_file_is_refused_and_made_again(name: str, content: bytes, problem: str) -> None:
    """
    Whichever of the three it is; keeping a conversion again puts all three right.
    """
    folder = keep_conversion(record(), *FILES)
    (folder / name).write_bytes(content)

    with pytest.raises(CheckpointError) as caught:
        find_conversion(PICKLE.sha256)
    keep_conversion(record(), *FILES)

    assert problem in str(caught.value)
    assert find_conversion(PICKLE.sha256) is not None
    assert [path.name for path in folder.parent.iterdir()] == [PICKLE.sha256]


def test_a_conversion_under_another_name_is_refused() -> None:
    """
    A folder that was renamed does not stand in for another pickle's.
    """
    other = record_of(b"another pickle").sha256
    keep_conversion(record(), *FILES).rename(conversion_folder(other))

    with pytest.raises(CheckpointError, match="made from another pickle"):
        find_conversion(other)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_a_files_place_does_not_hold_us() -> None:
    """
    Only regular files are read.
    """
    folder = keep_conversion(record(), *FILES)
    (folder / "conversion.json").unlink()
    os.mkfifo(folder / "conversion.json")

    with pytest.raises(CheckpointError, match="a named pipe"):
        find_conversion(PICKLE.sha256)


@pytest.mark.parametrize("name", ["", "../" * 21 + "a", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_only_a_digest_names_a_folder(name: str) -> None:
    """
    Nothing else becomes a path.
    """
    with pytest.raises(UsageError, match="64 hex digits"):
        conversion_folder(name)


def test_a_failing_disk_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    When the files cannot be brought to the disk, there is no conversion and no scrap of one.
    """

    def fail(_descriptor: int) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        keep_conversion(record(), *FILES)

    assert list(conversion_folder(PICKLE.sha256).parent.iterdir()) == []


def test_leftovers_of_the_dead_are_swept() -> None:
    """
    What a writer left two hours ago goes; what another is writing now stays.
    """
    parent = conversion_folder(PICKLE.sha256).parent
    for name, age_s in ((".old.1.tmp", 7200), (".new.2.tmp", 0)):
        (parent / name).mkdir(parents=True)
        os.utime(parent / name, (time.time() - age_s,) * 2)

    keep_conversion(record(), *FILES)

    assert sorted(path.name for path in parent.iterdir()) == [".new.2.tmp", PICKLE.sha256]


KEEP = """
import contextlib, sys
from tests.convert.test_converted import FILES, record
from registry.converted import find_conversion, keep_conversion
for _ in range(int(sys.argv[1])):
    folder = keep_conversion(record(), *FILES)
    with contextlib.suppress(FileNotFoundError):  # the other one has just set it aside
        (folder / sys.argv[2]).write_bytes(b'spoilt')
keep_conversion(record(), *FILES)
"""


def test_two_processes_at_once_end_well() -> None:
    """
    Both keep the same conversion again and again and spoil it in between: neither fails, and it is sound at the end.
    """
    processes = [
        subprocess.Popen([sys.executable, "-c", KEEP, "50", name], cwd=Path(__file__).parent.parent.parent)
        for name in ("model.safetensors", "conversion.json")
    ]

    assert [process.wait(60) for process in processes] == [0, 0]
    keep_conversion(record(), *FILES)
    assert find_conversion(PICKLE.sha256) is not None
    assert [path.name for path in conversion_folder(PICKLE.sha256).parent.iterdir()] == [PICKLE.sha256]


def test_a_folder_of_ones_own_must_be_free(tmp_path: Path) -> None:
    """
    A new or an empty folder is filled; where something lies, nothing is touched.
    """
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()

    write_conversion(record(), *FILES, tmp_path / "empty")
    write_conversion(record(), *FILES, tmp_path / "a" / "new")
    with pytest.raises(UsageError, match="Nothing was written"):
        write_conversion(record(), *FILES, tmp_path / "full")

    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
    for folder in (tmp_path / "empty", tmp_path / "a" / "new"):
        assert json.loads((folder / "conversion.json").read_text())["pickle"]["sha256"] == PICKLE.sha256
