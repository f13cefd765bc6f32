"""What is put into the store comes out of it, on SQLite and on PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from registry.errors import StoreError
from registry.hub.outcome import DownloadReport, FileOutcome, Outcome
from registry.records import Head
from registry.shelf import Shelf
from registry.store.store import Store, specreg_version
from tests.store.conftest import HEAD
from tests.store.reports import faulty


def downloaded(folder: Path, *, status: str = "fetched", dry_run: bool = False) -> DownloadReport:
    """A report of one head that came from the Hub."""
    file = FileOutcome.model_validate(
        {"path": "config.json", "size_bytes": 44, "status": status, "commit": "0" * 40}
    )
    outcome = Outcome(
        kind="head", name=HEAD, source="hub", commit="0" * 40, folder=str(folder), files=(file,)
    )
    return DownloadReport(dry_run=dry_run, heads=(outcome,), models=())


def test_a_verification_is_kept_with_all_that_it_found(store_url: str, shelf: Shelf, head: Head) -> None:
    """
    Outcome, faults, time, folder and version come back as they were.
    """
    began = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))

    with Store.open(store_url) as store:
        store.remember_verification([shelf.verify_head(head)], shelf, checked_at=began)
        store.remember_verification(
            [faulty("one"), shelf.verify_model(shelf.catalog.models["pico-draft"])], shelf
        )
        (sound,) = store.verifications(HEAD)[1:]
        assert [(one.kind, one.name, one.ok) for one in store.verifications()] == [
            ("model", "pico-draft", True),
            ("head", HEAD, False),
            ("head", HEAD, True),
        ]
        assert store.verifications(HEAD, limit=1)[0].faults == ("model.safetensors: one",)

    assert sound.checked_at == began
    assert sound.checked_at.tzinfo is UTC
    assert sound.folder == str(shelf.head_place(head).folder)
    assert sound.specreg_version == specreg_version()
    assert sound.faults == ()


def test_a_verified_checkpoint_is_seen_with_its_files(store_url: str, shelf: Shelf, head: Head) -> None:
    """
    Every file stands there with its size and its recorded digest, once, however often it is seen.
    """
    with Store.open(store_url) as store:
        for _ in range(3):
            store.remember_verification([shelf.verify_head(head)], shelf)
        (seen,) = store.checkpoints()

    recorded = shelf.lock.heads[HEAD].files
    assert {file.path: (file.size_bytes, file.sha256) for file in seen.files} == {
        name: (record.size_bytes, record.sha256) for name, record in recorded.items()
    }
    assert (seen.kind, seen.source, seen.repo, seen.commit) == ("head", "folder", None, None)
    assert seen.first_seen < seen.last_seen


def test_a_file_that_grew_has_no_digest(store_url: str, shelf: Shelf, head: Head, folder: Path) -> None:
    """
    What is not of its record's size is not called by its record's digest.
    """
    with Store.open(store_url) as store:
        store.remember_verification([shelf.verify_head(head)], shelf)
        (folder / "config.json").write_text("{}\n")
        store.remember_verification([shelf.verify_head(head)], shelf)
        (seen,) = store.checkpoints()

    files = {file.path: file for file in seen.files}
    assert (files["config.json"].size_bytes, files["config.json"].sha256) == (3, None)
    assert len(files) == 5


def test_a_download_is_remembered_and_a_dry_one_is_not(store_url: str, shelf: Shelf, folder: Path) -> None:
    """
    Where from, commit and folder are kept of what was fetched.
    """
    with Store.open(store_url) as store:
        store.remember_download(downloaded(folder, dry_run=True), shelf)
        assert store.checkpoints() == ()
        store.remember_download(downloaded(folder), shelf)
        (seen,) = store.checkpoints()

    assert (seen.source, seen.commit, seen.folder) == ("hub", "0" * 40, str(folder))
    assert len(seen.files) == 5


def test_the_store_is_there_after_it_was_closed(store_url: str, shelf: Shelf) -> None:
    """
    Opened again, it holds what it held, and counts it.
    """
    with Store.open(store_url) as store:
        store.remember_verification([faulty("one")], shelf)

    with Store.open(store_url) as store:
        assert store.counts() == {"checkpoints": 1, "files": 5, "verifications": 1, "measurements": 0}
        assert store.revision() == "0003"


def test_a_failed_write_leaves_nothing_behind(store_url: str, shelf: Shelf) -> None:
    """
    A transaction is there whole or not at all.
    """
    broken = faulty("fine").model_copy(update={"head": None})

    with Store.open(store_url) as store:
        with pytest.raises(StoreError):
            store.remember_verification([faulty("one"), broken], shelf)
        assert set(store.counts().values()) == {0}
        store.remember_verification([faulty("two")], shelf)
        assert store.counts()["verifications"] == 1


@pytest.mark.parametrize(
    ("url", "hidden"),
    [
        ("postgresql://me:se%40cret@127.0.0.1:1/x?password=se@cret", "cret"),
        ("postgresql://me:secret@127.0.0.1:port/x", "secret"),
        ("mysql://me:secret@127.0.0.1/x", "secret"),
        ("sqlite:///?key=secret", "secret"),
        ("secret", "secretsecret"),
    ],
)
def test_no_message_repeats_a_password(url: str, hidden: str) -> None:
    """
    A URL that cannot be used is named without what is secret in it.
    """
    with pytest.raises(StoreError) as caught:
        Store.open(url)

    assert hidden not in str(caught.value)
    assert hidden not in caught.value.store
    assert caught.value.exit_code == 2


@pytest.mark.postgres
def test_two_writers_wait_for_each_other_on_postgres(postgres_url: str, shelf: Shelf) -> None:
    """
    While one transaction writes, another that begins to is not told of a clash, but waits.
    """
    import threading

    done: list[str] = []
    with Store.open(postgres_url) as first, Store.open(postgres_url) as second:

        def write(store: Store, name: str) -> None:
            for number in range(20):
                store.remember_verification([faulty(f"{name} {number}")], shelf)
            done.append(name)

        threads = [
            threading.Thread(target=write, args=pair) for pair in ((first, "first"), (second, "second"))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(done) == ["first", "second"]
        assert first.counts() == {"checkpoints": 1, "files": 5, "verifications": 40, "measurements": 0}
