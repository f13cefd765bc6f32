"""Measurements that cannot be read are told of, row by row or all together, and what can be read is rescued."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from registry.errors import StoreError
from registry.shelf import Shelf
from registry.store.measured import read_measurements
from registry.store.rebuild import rebuild
from registry.store.remembering import note_measurements
from registry.store.store import Store
from tests.store.measurements import CPU, found_in, measured


def spoil(path: Path, column: str, value: object, *, row: int) -> None:
    """Write something into one row that was never written there."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            f"UPDATE specreg_measurement SET {column} = ? WHERE id = ?",  # noqa: S608 - our own words
            (value, row),
        )


def test_what_cannot_be_kept_is_said(store_file: Path) -> None:
    """
    The command goes on; its reader learns that no plan will know of it.
    """
    store_file.parent.mkdir(parents=True)
    overwritten(store_file)

    warning = note_measurements([measured()])

    assert str(warning).startswith(f"The store {store_file} is corrupted: ")
    assert str(warning).endswith("only the store does not know of it, and no plan will use it.")


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("setup", json.dumps({**CPU.model_dump(), "threads": 0}), "threads: Input should be greater than 0"),
        ("setup", "{", "EOF"),
        ("document", "[]", "document: Input should be a valid dictionary"),
        ("document", "[" * 100_000, "RecursionError|recursion"),
        ("provenance", "", "Expecting value"),
        ("measured_at", "yesterday", "yesterday"),
        ("kind", "guess", "kind: Input should be 'forwards'"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_and_costs_no_other(
    column: str, value: str, problem: str, store_file: Path, shelf: Shelf
) -> None:
    """
    The sentence tells kind, subject and what to do; a rebuild sets the file aside and keeps the other rows.
    """
    assert note_measurements([measured(1), measured(2, subject="pico-draft")]) is None
    spoil(store_file, column, value, row=1)

    with pytest.raises(StoreError, match=problem) as caught:
        read_measurements()
    done = rebuild(shelf)

    kind = value if column == "kind" else "forwards"
    assert caught.value.reason == "corrupted"
    assert f"the measurement '{kind}' of 'pico-target' (row 1 of specreg_measurement)" in str(caught.value)
    assert "`specreg store rebuild`" in str(caught.value)
    assert "`specreg measure` measures anew" in str(caught.value)
    assert (done.set_aside is not None, done.measurements) == (True, 1)
    assert found_in(read_measurements()) == [2]


def test_the_store_names_a_row_as_the_reader_does(store_file: Path) -> None:
    """
    Whoever asks, the sentence is the same.
    """
    assert note_measurements([measured()]) is None
    spoil(store_file, "document", "{", row=1)

    with pytest.raises(StoreError) as by_reader:
        read_measurements()
    with Store.open() as store, pytest.raises(StoreError) as by_store:
        store.measurements()

    assert str(by_store.value) == str(by_reader.value)


def overwritten(path: Path) -> None:
    path.write_text("no database at all, but longer than nothing\n" * 100)


def a_circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def without_the_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE specreg_measurement")


def without_a_revision(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM specreg_revision")


def of_a_later_specreg(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE specreg_revision SET version_num = '0999'")


def text_of_bad_letters(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE specreg_measurement SET subject = CAST(x'ff' AS TEXT)")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (overwritten, "corrupted"),
        (a_circle, "read-only"),
        (without_the_table, "corrupted"),
        (without_a_revision, "corrupted"),
        (of_a_later_specreg, "newer"),
        (text_of_bad_letters, "corrupted"),
    ],
)
def test_a_store_that_cannot_be_read_is_not_an_empty_one(
    damage: Callable[[Path], None], reason: str, store_file: Path
) -> None:
    """
    It is told in the store's own words: a plan must not pass over what was measured.
    """
    assert note_measurements([measured()]) is None
    damage(store_file)

    with pytest.raises(StoreError) as caught:
        read_measurements()

    assert caught.value.reason == reason
    assert str(store_file) in str(caught.value)


def test_a_lock_that_is_held_on_is_told(store_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Another process that keeps all others out is waited for, and then named; a mere writer keeps no reader waiting.
    """
    monkeypatch.setattr("registry.store.measured.BUSY_TIMEOUT_S", 0.05)
    assert note_measurements([measured()]) is None
    with closing(sqlite3.connect(store_file, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert read_measurements() == (measured(),)
        holder.execute("ROLLBACK")
        holder.execute("PRAGMA journal_mode=DELETE")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="is locked") as caught:
            read_measurements()

    assert caught.value.reason == "locked"


def test_measurements_outlive_damage_elsewhere(store_file: Path, shelf: Shelf) -> None:
    """
    Where another table is gone, the new store has every measurement, in its order, with the specreg that kept it.
    """
    both = [measured(1), measured(2)]
    assert note_measurements(both) is None
    with closing(sqlite3.connect(store_file)) as connection, connection:
        connection.execute("UPDATE specreg_measurement SET specreg_version = '0.0.7'")
        connection.execute("DROP TABLE specreg_verification")

    done = rebuild(shelf)

    assert (done.set_aside is not None, done.measurements) == (True, 2)
    with Store.open() as store:
        assert store.measurements(latest=False) == tuple(reversed(both))
    with closing(sqlite3.connect(store_file)) as connection:
        query = "SELECT DISTINCT specreg_version FROM specreg_measurement"
        assert connection.execute(query).fetchall() == [("0.0.7",)]
