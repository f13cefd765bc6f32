"""A damaged store: told in one sentence, never in the way, set aside and made anew."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.errors import StoreError
from registry.records import Head
from registry.shelf import Shelf
from registry.store.measured import read_measurements
from registry.store.rebuild import rebuild
from registry.store.remembering import note_download, note_measurements, note_verification
from registry.store.store import Store
from registry.store.view import LastChecks, known_checkpoints
from tests.store.conftest import HEAD
from tests.store.measurements import measured
from tests.store.reports import detail_of, faulty
from tests.store.test_store import downloaded

PAGE = 4096


def fill(shelf: Shelf, count: int = 100) -> None:
    """A store of several pages."""
    with Store.open() as store:
        for number in range(count // 50):
            reports = [faulty(f"{number * 50 + one} {'x' * 200}") for one in range(50)]
            store.remember_verification(reports, shelf)


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(content)


def zero_pages(path: Path) -> None:
    """All but the first page."""
    overwrite(path, PAGE, bytes(path.stat().st_size - PAGE))


def drop_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE specreg_verification")


def spoil_value(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE specreg_verification SET checked_at = 'yesterday', faults = '[' WHERE id = 7"
        )


def no_revision(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM specreg_revision")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "header overwritten": lambda path: overwrite(path, 0, b"garbage!" * 12),
    "pages overwritten": zero_pages,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: 3 * PAGE]),
    "cut within a page": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "not a database": lambda path: path.write_text("# a text that somebody put there\n" * 99),
    "a table gone": drop_table,
    "a value that cannot be one": spoil_value,
    "no revision": no_revision,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_store_is_told_set_aside_and_made_anew(
    damage: Callable[[Path], object], store_file: Path, shelf: Shelf, head: Head
) -> None:
    """
    The error names the command; that keeps the bad file under another name, and the new store works.
    """
    fill(shelf)
    damage(store_file)
    bad = store_file.read_bytes()

    with pytest.raises(StoreError) as caught, Store.open() as store:
        store.verifications()
    done = rebuild(shelf)

    assert caught.value.reason == "corrupted"
    assert "`specreg store rebuild`" in str(caught.value)
    assert done.set_aside is not None
    assert done.set_aside.read_bytes() == bad
    assert not store_file.with_name("store.db.new").exists()
    with Store.open() as store:
        assert {one.name for one in store.checkpoints()} >= {HEAD, "pico-target"}
        store.remember_verification([shelf.verify_head(head)], shelf)
        assert store.verifications(limit=1)[0].ok
        assert store.counts()["verifications"] == done.verifications + 1


def test_an_empty_file_is_an_empty_store(store_file: Path, shelf: Shelf) -> None:
    """
    A file of no bytes is what a store is before its first table.
    """
    store_file.parent.mkdir(parents=True)
    store_file.touch()

    fill(shelf)

    with Store.open() as store:
        assert store.counts()["verifications"] == 100


def test_garbage_after_the_log_is_passed_over(store_file: Path, shelf: Shelf) -> None:
    """
    Frames of the log whose checksum is wrong were never committed: what was before them is all there.
    """
    code = (
        "import os, signal\nfrom registry.shelf import Shelf\nfrom registry.store.store import Store\n"
        "from tests.store.reports import faulty\n"
        "store = Store.open()\nstore.remember_verification([faulty('kept')], Shelf.open())\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    log = store_file.with_name("store.db-wal")
    assert log.stat().st_size > 0
    with log.open("ab") as stream:
        stream.write(random.Random(1).randbytes(3 * PAGE))  # noqa: S311 - any bytes will do

    assert [detail_of(one.faults) for one in Store.open().verifications()] == ["kept"]
    assert rebuild(shelf).set_aside is None


def test_a_log_of_garbage_hides_nothing_that_was_folded_in(store_file: Path, shelf: Shelf) -> None:
    """
    Another file in the log's place is no log.
    """
    fill(shelf)
    store_file.with_name("store.db-wal").write_bytes(b"no log at all " * 1000)

    with Store.open() as store:
        assert store.counts()["verifications"] == 100


def test_of_a_damaged_store_what_can_be_read_is_kept(store_file: Path, shelf: Shelf) -> None:
    """
    One bad page in the middle costs the verifications on it, and no other.
    """
    fill(shelf, 400)
    pages = store_file.stat().st_size // PAGE
    overwrite(store_file, (pages // 2) * PAGE, b"\xff" * PAGE)

    with Store.open() as store, pytest.raises(StoreError):
        store.verifications()
    done = rebuild(shelf)

    assert 300 < done.verifications < 400
    with Store.open() as store:
        kept = [detail_of(one.faults).split()[0] for one in store.verifications()]
    assert len(set(kept)) == done.verifications
    assert {"0", "399"} <= set(kept)


def test_when_a_checkpoint_was_first_seen_outlives_the_damage(store_file: Path, shelf: Shelf) -> None:
    """
    Times that the old store can still tell go into the new one.
    """
    fill(shelf)
    with Store.open() as store:
        before = {one.name: one.first_seen for one in store.checkpoints()}[HEAD]
    spoil_value(store_file)

    done = rebuild(shelf)

    assert (done.set_aside is not None, done.verifications) == (True, 99)
    with Store.open() as store:
        assert {one.name: one.first_seen for one in store.checkpoints()}[HEAD] == before


def test_a_sound_store_is_brought_in_line_where_it_is(shelf: Shelf, folder: Path) -> None:
    """
    What is no longer here goes, what is here comes, verifications stay, and nothing is set aside.
    """
    fill(shelf)
    shutil.rmtree(folder)

    done = rebuild(shelf)

    assert (done.set_aside, done.verifications) == (None, 100)
    with Store.open() as store:
        names = {one.name for one in store.checkpoints()}
    assert HEAD not in names
    assert "pico-target" in names


@pytest.mark.postgres
def test_postgres_is_rebuilt_where_it_is(
    postgres_url: str, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A team's database is brought in line too.
    """
    monkeypatch.setenv("SPECREG_DATABASE_URL", postgres_url)
    fill(shelf)

    done = rebuild(shelf)

    assert (done.set_aside, done.verifications) == (None, 100)
    assert done.checkpoints > 1
    assert "***" not in done.store


@pytest.mark.parametrize("seed", range(4))
def test_no_damage_goes_past_the_error_tree(seed: int, store_file: Path, shelf: Shelf, folder: Path) -> None:
    """
    Bytes changed anywhere: reading, listing and rebuilding end well or in a StoreError, and then it works.
    """
    fill(shelf)
    note_measurements([measured(number) for number in range(20)])
    draw = random.Random(seed)  # noqa: S311 - the same damage every time
    content = bytearray(store_file.read_bytes())
    for _ in range(draw.choice((1, 20, 500))):
        content[draw.randrange(len(content))] = draw.randrange(256)
    store_file.write_bytes(content)

    LastChecks.read().of("head", HEAD, shelf.head_place(next(iter(shelf.catalog.heads))))
    known_checkpoints()
    with suppress(StoreError):
        read_measurements()
    with suppress(StoreError), Store.open() as store:
        store.verifications()
        store.checkpoints()
        store.measurements(latest=False)
    note_verification([faulty("while damaged")], shelf, checked_at=datetime.now(UTC))
    note_download(downloaded(folder), shelf)
    note_measurements([measured()])
    with suppress(StoreError):  # one byte of the revision may make it a newer store
        rebuild(shelf)
        with Store.open() as store:
            store.remember_verification([faulty("after")], shelf)
            assert detail_of(store.verifications(limit=1)[0].faults) == "after"
