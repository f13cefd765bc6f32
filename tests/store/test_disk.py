"""A full disk and a home that may not be written: told in one sentence, and nothing is lost."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.errors import StoreError
from registry.records import Head
from registry.shelf import Shelf
from registry.store.measured import read_measurements
from registry.store.rebuild import rebuild
from registry.store.remembering import note_verification
from registry.store.store import Store
from registry.store.view import LastChecks
from tests.conftest import Outcome
from tests.store.conftest import HEAD
from tests.store.reports import detail_of, faulty
from tests.store.server import NOBODY


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 kB of its own."""
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k,mode=755", "tmpfs", where],  # noqa: S607
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("no file system may be mounted here, so none was filled")
    try:
        yield where
    finally:
        subprocess.run(["umount", "--lazy", where], check=True)  # noqa: S607


def write_until_full(store: Store, shelf: Shelf) -> tuple[list[str], StoreError]:
    """What was acknowledged, and how it ended."""
    kept: list[str] = []
    for number in range(1000):
        try:
            store.remember_verification([faulty(f"{number} {'x' * 20_000}")], shelf)
        except StoreError as error:
            return kept, error
        kept.append(str(number))
    raise AssertionError("the disk never filled")


def test_a_full_disk_loses_nothing_and_is_told(small_disk: Path, shelf: Shelf) -> None:
    """
    What was acknowledged stays readable; with room again, writing goes on, in the same store.
    """
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(64 << 10))
    with Store.open(f"sqlite:///{small_disk / 'store.db'}") as store:
        kept, error = write_until_full(store, shelf)
        assert error.reason == "full"
        assert "Make room" in str(error)
        assert kept
        assert sorted(detail_of(one.faults).split()[0] for one in store.verifications()) == sorted(kept)
        ballast.unlink()
        store.remember_verification([faulty("after")], shelf)

    with Store.open(f"sqlite:///{small_disk / 'store.db'}") as store:
        assert store.counts()["verifications"] == len(kept) + 1


def test_a_store_cannot_be_made_on_a_full_disk(small_disk: Path, shelf: Shelf) -> None:
    """
    The sentence says so; with room, the same place serves.
    """
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            pass
    url = f"sqlite:///{small_disk / 'home' / 'store.db'}"
    with pytest.raises(StoreError) as caught:
        Store.open(url)
    assert caught.value.reason == "full"

    ballast.unlink()

    with Store.open(url) as store:
        store.remember_verification([faulty("one")], shelf)


def test_a_limit_on_file_size_is_a_full_disk(tmp_path: Path, shelf: Shelf) -> None:
    """
    Where no file may grow past a limit, what was acknowledged is there, and the end is an error of ours.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Store.open(f"sqlite:///{tmp_path / 'store.db'}") as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
        try:
            kept, error = write_until_full(store, shelf)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

        assert error.reason == "full"
        assert sorted(detail_of(one.faults).split()[0] for one in store.verifications()) == sorted(kept)


@contextmanager
def not_writable(home: Path) -> Iterator[None]:
    """A home of which nothing may be written; root counts as nobody meanwhile, whom modes do bind."""
    root = os.geteuid() == 0
    opened = [parent for parent in home.parents if root and parent.stat().st_uid == 0 and parent != Path("/")]
    modes = {path: path.stat().st_mode for path in [home, *home.iterdir(), *opened]}
    for path in opened:
        path.chmod(path.stat().st_mode | 0o055)
    for path in home.iterdir():
        path.chmod(0o444)
    home.chmod(0o555)
    try:
        if root:
            os.seteuid(NOBODY)
        yield
    finally:
        if root:
            os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)


def killed_after_writing(detail: str) -> None:
    """Another process writes one verification and dies, so that its log stays as it is."""
    code = (
        "import os, signal, sys\nfrom registry.shelf import Shelf\nfrom registry.store.store import Store\n"
        "from tests.store.reports import faulty\n"
        "store = Store.open()\nstore.remember_verification([faulty(sys.argv[1])], Shelf.open())\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, detail], check=False)


@pytest.mark.parametrize("state", ["closed", "with a log"])
def test_a_home_that_may_not_be_written_is_still_read(
    state: str, store_file: Path, shelf: Shelf, head: Head, specreg: Callable[..., Outcome]
) -> None:
    """
    `list` and `store history` tell what they told; only writing is refused, with what to do about it.
    """
    place = shelf.head_place(head)
    if state == "closed":
        with Store.open() as store:
            store.remember_verification([faulty("one")], shelf)
        for suffix in ("-wal", "-shm"):
            store_file.with_name(store_file.name + suffix).unlink(missing_ok=True)
    else:
        killed_after_writing("one")

    with not_writable(store_file.parent):
        check = LastChecks.read().of("head", HEAD, place)
        warning = note_verification([faulty("two")], shelf, checked_at=datetime.now(UTC))
        history = specreg("store", "history", "--json")
        with pytest.raises(StoreError) as caught:
            rebuild(shelf)

    assert check is not None
    assert check.ok is False
    assert warning is not None
    assert "SPECREG_HOME" in warning
    assert warning.endswith("The verification itself stands; only the store does not know of it.")
    assert caught.value.reason == "read-only"
    assert [one["faults"] for one in json.loads(history.out)["verifications"]] == [["model.safetensors: one"]]


def test_a_file_system_that_is_read_only_is_still_read(
    small_disk: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, specreg: Callable[..., Outcome]
) -> None:
    """
    The same where the disk itself takes no writes.
    """
    monkeypatch.setenv("SPECREG_HOME", str(small_disk / "home"))
    with Store.open() as store:
        store.remember_verification([faulty("one")], shelf)
    for suffix in ("-wal", "-shm"):
        (small_disk / "home" / f"store.db{suffix}").unlink(missing_ok=True)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)  # noqa: S607

    shown = specreg("store", "show", "--json")

    assert json.loads(shown.out)["verifications"] == 1
    warning = note_verification([faulty("two")], shelf, checked_at=datetime.now(UTC))
    assert "cannot be opened or written" in str(warning)


def test_a_full_disk_is_still_read(
    small_disk: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, specreg: Callable[..., Outcome]
) -> None:
    """
    `store show`, `list` and whoever asks for measurements need no room.
    """
    monkeypatch.setenv("SPECREG_HOME", str(small_disk / "home"))
    with Store.open() as store:
        store.remember_verification([faulty("one")], shelf)
    for suffix in ("-wal", "-shm"):
        (small_disk / "home" / f"store.db{suffix}").unlink(missing_ok=True)
    with suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(1 << 12))

    shown = specreg("store", "show", "--json")

    assert json.loads(shown.out)["verifications"] == 1
    assert read_measurements() == ()
    assert LastChecks.read() != LastChecks()


def test_a_home_that_is_a_file_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, specreg: Callable[..., Outcome]
) -> None:
    """
    No store can be there, which is not the same as none yet; who asks for measurements is told so too.
    """
    (tmp_path / "file").touch()
    monkeypatch.setenv("SPECREG_HOME", str(tmp_path / "file"))

    for command in ("show", "history"):
        found = specreg("store", command)
        assert found.code == 2
        assert found.err.endswith("Point SPECREG_HOME to a folder.\n")
    with pytest.raises(StoreError, match="Point SPECREG_HOME to a folder"):
        read_measurements()


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """
    A file where the home's folder should be.
    """
    (tmp_path / "file").touch()
    with pytest.raises(StoreError) as caught:
        Store.open(environ={"SPECREG_HOME": str(tmp_path / "file" / "home")})

    assert caught.value.reason == "read-only"


def test_a_lock_that_is_held_on_is_told(
    store_file: Path, shelf: Shelf, head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Who waits in vain for another process gets a sentence; who only lists never waits.
    """
    import sqlite3

    monkeypatch.setattr("registry.store.database.BUSY_TIMEOUT_S", 0.1)
    with Store.open() as store:
        store.remember_verification([shelf.verify_head(head)], shelf)
    holder = sqlite3.connect(store_file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        warning = note_verification([faulty("two")], shelf, checked_at=datetime.now(UTC))
        check = LastChecks.read().of("head", HEAD, shelf.head_place(head))
    finally:
        holder.close()

    assert warning is not None
    assert "is locked" in warning
    assert "Wait until that ends, and try again." in warning
    assert check is not None


@pytest.mark.postgres
def test_a_lock_that_is_held_on_is_told_on_postgres_too(
    postgres_url: str, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A writer that never ends keeps others waiting so long and no longer; readers do not wait at all.
    """
    monkeypatch.setattr("registry.store.database.BUSY_TIMEOUT_S", 0.1)
    with Store.open(postgres_url) as store, Store.open(postgres_url) as other:
        store.remember_verification([faulty("one")], shelf)
        with pytest.raises(StoreError) as caught:
            store._database.run(lambda _: other.remember_verification([faulty("two")], shelf), writing=True)
        assert [detail_of(one.faults) for one in other.verifications()] == ["one"]

    assert caught.value.reason == "locked"


@pytest.mark.postgres
def test_a_server_that_is_gone_is_told(postgres_server: str) -> None:
    """
    No such database, no such server: out of reach, with what to check.
    """
    for url in (postgres_server.replace("/postgres?", "/none?"), "postgresql://me:secret@127.0.0.1:1/x"):
        with pytest.raises(StoreError) as caught:
            Store.open(url)
        assert caught.value.reason == "unreachable"
        assert "Check SPECREG_DATABASE_URL" in str(caught.value)
