"""catalog.lock: read strictly, written whole, and what a folder's record says."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import CatalogError, CheckpointError
from registry.lock import Lock, lock_folder, lock_text, read_lock, write_lock
from registry.records import FileRecord, LockEntry
from tests.registry.stored import write_head

DIGEST = hashlib.sha256(b"").hexdigest()
ENTRY = LockEntry(commit="0" * 40, files={"config.json": FileRecord(size_bytes=0, sha256=DIGEST)})


def document(**changes: Any) -> dict[str, Any]:
    """A lock of one head whose only file record is changed."""
    record = {"size_bytes": 1, "sha256": DIGEST, **changes}
    return {"version": 1, "heads": {"a--to--b/run": {"commit": None, "files": {"config.json": record}}}}


def faults_of(path: Path, content: object) -> list[str]:
    """What is said of a lock with this content."""
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(CatalogError) as caught:
        read_lock([path])
    return [str(fault) for fault in caught.value.faults]


def test_a_written_lock_reads_back(tmp_path: Path) -> None:
    """
    What was written is read back equal.
    """
    lock = Lock().with_head("a--to--b/run", ENTRY).with_model("qwen3-0.6b", ENTRY)

    write_lock(lock, tmp_path / "catalog.lock")

    assert read_lock([tmp_path / "catalog.lock"]) == lock


def test_the_same_lock_gives_the_same_bytes() -> None:
    """
    The order in which entries came leaves no trace.
    """
    files = {name: FileRecord(size_bytes=1, sha256=DIGEST) for name in ("b", "a", "c")}
    turned = dict(reversed(files.items()))
    one = Lock().with_head("x", LockEntry(files=files)).with_head("y", ENTRY)
    other = Lock().with_head("y", ENTRY).with_head("x", LockEntry(files=turned))

    assert lock_text(one) == lock_text(other)


def test_each_file_has_a_line() -> None:
    """
    A change of one digest is a change of one line.
    """
    other = LockEntry(commit=ENTRY.commit, files={"config.json": FileRecord(size_bytes=0, sha256="f" * 64)})

    before = lock_text(Lock().with_head("x", ENTRY)).splitlines()
    after = lock_text(Lock().with_head("x", other)).splitlines()

    assert [(a, b) for a, b in zip(before, after, strict=True) if a != b] == [
        (
            f'        "config.json": {{"size_bytes": 0, "sha256": "{DIGEST}"}}',
            f'        "config.json": {{"size_bytes": 0, "sha256": "{"f" * 64}"}}',
        )
    ]


def test_a_missing_file_is_an_empty_lock(tmp_path: Path) -> None:
    """
    A catalog without a lock beside it records nothing.
    """
    assert read_lock([tmp_path / "catalog.lock"]) == Lock()


def test_later_locks_lie_over_earlier_ones(tmp_path: Path) -> None:
    """
    An entry of a later file replaces the whole entry of an earlier one; the others stay.
    """
    later = LockEntry(files={"model.safetensors": FileRecord(size_bytes=1, sha256=DIGEST)})
    write_lock(Lock().with_head("x", ENTRY).with_head("y", ENTRY), tmp_path / "first")
    write_lock(Lock().with_head("x", later), tmp_path / "second")

    read = read_lock([tmp_path / "first", tmp_path / "second"])

    assert read.heads == {"x": later, "y": ENTRY}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"version": 1, "version": 1}', "'version' stands twice"),
        ('{"version": 1,\n "heads": {', ":2: not JSON"),
        ("[]", "expected an object"),
        ("{}", "version: expected 1"),
        ({"version": 2}, "version: Input should be 1"),
        ({"version": True}, "version: expected 1"),
        ({"version": 1, "more": {}}, "more: Extra inputs are not permitted"),
        (document(size_bytes="1"), "size_bytes: Input should be a valid integer"),
        (document(size_bytes=True), "size_bytes: Input should be a valid integer"),
        (document(size_bytes=-1), "size_bytes: Input should be greater than or equal to 0"),
        (document(sha256=DIGEST.upper()), "sha256: String should match"),
        (document(sha256=DIGEST + "\n"), "sha256: String should match"),
        (document(sha256=DIGEST[1:]), "sha256: String should match"),
        (document(more=1), "more: Extra inputs"),
        ({"version": 1, "heads": {"x": {"commit": "main", "files": {}}}}, "commit: String should match"),
        ({"version": 1, "heads": {"x": {"commit": None}}}, "files: Field required"),
        ({"version": 1, "heads": {"../x": {"files": {}}}}, "'../x' does not stay in its folder"),
        ({"version": 1, "models": {"x": {"files": {"/etc/passwd": {}}}}}, "models.x.files"),
        ('{"version": 1, "heads": ' + '{"x":' * 50_000, "nested too deeply"),
        ('{"version": NaN}', "NaN is no JSON number"),
        ('{"version": 1.0}', "not an integer"),
    ],
)
def test_a_lock_that_is_not_as_it_should_be_is_refused(tmp_path: Path, content: object, said: str) -> None:
    """
    A spoilt lock is refused with its file and the place in it.
    """
    faults = faults_of(tmp_path / "catalog.lock", content)

    assert any(said in fault for fault in faults), faults
    assert all(fault.startswith(str(tmp_path / "catalog.lock")) for fault in faults)


def test_every_fault_of_every_file_is_told(tmp_path: Path) -> None:
    """
    Two spoilt files with three faults give three faults at once.
    """
    (tmp_path / "first").write_text(json.dumps(document(size_bytes=-1, sha256="")))
    (tmp_path / "second").write_text("{")

    with pytest.raises(CatalogError) as caught:
        read_lock([tmp_path / "first", tmp_path / "second"])

    assert len(caught.value.faults) == 3
    assert caught.value.faults[0].path == "heads['a--to--b/run'].files['config.json'].size_bytes"


OUTSIDE = [
    "..",
    "../x",
    "x/../../y",
    "/x",
    "x//y",
    "x/",
    "",
    ".",
    "./x",
    "x\\y",
    "C:x",
    "x\0",
    "x\n",
    " x",
    "x.",
    "é",
]


@pytest.mark.parametrize("name", [*OUTSIDE, "x" * 256, "/".join(["x" * 100] * 11)])
def test_names_cannot_leave_their_folder(name: str) -> None:
    """
    No lock can hold a head or a file of a name that leads elsewhere, however it is made.
    """
    with pytest.raises(ValueError, match="does not stay in its folder"):
        Lock(heads={name: LockEntry(files={})})
    with pytest.raises(ValueError, match="does not stay in its folder"):
        Lock(models={"x": LockEntry(files={name: FileRecord(size_bytes=0, sha256=DIGEST)})})


def test_hostile_names_never_resolve_outside(tmp_path: Path) -> None:
    """
    Whatever text a lock accepts as a name lies strictly inside the folder it is joined to.
    """
    root = tmp_path.resolve()
    parts = st.sampled_from(["..", ".", "/", "\\", "a", "C:", "\0", "~", "con", " ", "..\u2025", "%2e"])

    @settings(max_examples=1000, deadline=None, derandomize=True, database=None)
    @given(st.one_of(st.lists(parts, max_size=6).map("".join), st.text(max_size=12)))
    def check(name: str) -> None:
        try:
            Lock(heads={name: LockEntry(files={})})
        except ValueError:
            return
        assert Path(os.path.normpath(root / name)).is_relative_to(root)
        assert Path(os.path.normpath(root / name)) != root

    check()


def test_a_failed_write_leaves_the_old_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    When the disk gives out before the rename, the old lock stands and nothing lies beside it.
    """
    path = tmp_path / "catalog.lock"
    write_lock(Lock().with_head("x", ENTRY), path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_lock(Lock(), path)

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_dead_writers_are_swept(tmp_path: Path) -> None:
    """
    A temporary file an hour old goes with the next write; a fresh one may be another writer's and stays.
    """
    old, fresh = tmp_path / ".catalog.lock.1.0.tmp", tmp_path / ".catalog.lock.2.0.tmp"
    for leftover in (old, fresh):
        leftover.write_text("{")
    os.utime(old, (0, 0))

    write_lock(Lock(), tmp_path / "catalog.lock")

    assert not old.exists()
    assert fresh.exists()


def test_a_folder_is_recorded_file_by_file(tmp_path: Path) -> None:
    """
    The record has size and sha256 of every file, those in folders inside included, hidden folders left out.
    """
    folder = write_head(tmp_path / "head")
    (folder / "more").mkdir()
    (folder / "more" / "notes.txt").write_bytes(b"notes")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock").write_bytes(b"")

    entry = lock_folder(folder, commit="a" * 40)

    assert entry.commit == "a" * 40
    assert sorted(entry.files) == ["config.json", "model.safetensors", "more/notes.txt"]
    for name, record in entry.files.items():
        content = (folder / name).read_bytes()
        assert record == FileRecord(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def test_what_cannot_be_recorded_is_listed(tmp_path: Path) -> None:
    """
    Links leading outside, named pipes and unsafe names are refused together.
    """
    folder = write_head(tmp_path / "head")
    (folder / "link").symlink_to("/etc/hostname")
    os.mkfifo(folder / "pipe")
    (folder / "odd\nname").write_bytes(b"")

    with pytest.raises(CheckpointError) as caught:
        lock_folder(folder)

    assert [problem.split(":")[0] for problem in caught.value.problems] == ["link", "odd\\nname", "pipe"]


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_no_folder_no_record(tmp_path: Path, kind: str) -> None:
    """
    A folder that is not there, holds nothing, or is none is not recorded as an empty one.
    """
    folder = tmp_path / kind
    if kind == "empty":
        folder.mkdir()
    if kind == "file":
        folder.write_bytes(b"")

    with pytest.raises(CheckpointError, match="cannot be recorded"):
        lock_folder(folder)
