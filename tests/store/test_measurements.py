"""What was measured is kept, told by the latest of each, and never lost in silence."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from registry.shelf import Shelf
from registry.store.measured import read_measurements
from registry.store.migrating import migrate
from registry.store.place import store_place
from registry.store.rebuild import rebuild
from registry.store.remembering import note_measurements
from registry.store.store import Store
from tests.conftest import Outcome
from tests.store.measurements import CPU, NOON, found_in, measured
from tests.store.reports import faulty


@pytest.fixture
def at_url(store_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty store of either kind, which the commands use too."""
    monkeypatch.setenv("SPECREG_DATABASE_URL", store_url)
    return store_url


def test_a_measurement_comes_back_as_it_was(at_url: str) -> None:
    """
    Every field, by the store and by the reader; a time in another zone is the same moment.
    """
    trace = measured(
        kind="trace",
        subject="pico-little--to--pico-draft",
        law="temperature 1, top-p 0.9",
        at=datetime(2026, 5, 1, 13, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2))),
    )
    with Store.open(at_url) as store:
        store.keep_measurements([trace, measured()])
        assert store.measurements() == (measured(), trace)
        assert store.counts()["measurements"] == 2

    assert read_measurements() == (measured(), trace)
    assert read_measurements()[1].measured_at.tzinfo is UTC


def test_the_latest_counts_and_all_are_kept(at_url: str) -> None:
    """
    By the time it was measured, whenever it was kept; of one moment, by what was kept last.
    """
    later = NOON + timedelta(microseconds=1)
    with Store.open(at_url) as store:
        store.keep_measurements([measured(1, at=later), measured(2, at=later)])
        store.keep_measurements([measured(3)])
        assert found_in(store.measurements()) == [2]
        assert found_in(store.measurements(latest=False)) == [2, 1, 3]

    assert found_in(read_measurements()) == [2]


def test_what_differs_is_never_mixed(at_url: str) -> None:
    """
    Another kind, subject, law, or any part of a setup is a measurement of its own.
    """
    others: list[dict[str, Any]] = [
        {"host": "there"},
        {"device": "cuda"},
        {"processor": "a GPU"},
        {"threads": 1},
        {"dtype": "stored"},
        {"engine": "captured"},
    ]
    apart = [
        measured(),
        measured(kind="rounds"),
        measured(subject="pico-draft"),
        measured(law="greedy"),
        *(measured(setup=CPU.model_copy(update=other)) for other in others),
    ]
    with Store.open(at_url) as store:
        store.keep_measurements([measured(0, at=NOON - timedelta(days=1)), *apart])

    kept = read_measurements()

    assert len(kept) == len(apart)
    assert all(one in kept for one in apart)


def test_an_older_store_keeps_what_it_had(at_url: str, shelf: Shelf) -> None:
    """
    Of the revision before there are no measurements, not even for who only reads; the first one migrates it.
    """
    engine = create_engine(store_place().url or at_url)
    with engine.begin() as connection:
        migrate(connection, to="0002")
        connection.execute(
            text(
                "INSERT INTO specreg_verification (kind, name, checked_at, ok, faults, specreg_version) "
                "VALUES ('head', 'old', '2026-01-01 00:00:00.000000', true, '[]', '0.1.0')"
            )
        )
    engine.dispose()
    assert read_measurements() == ()
    with Store.open(read_only=True) as store:
        assert (store.measurements(), store.counts()["measurements"]) == ((), 0)

    assert note_measurements([measured()]) is None

    assert read_measurements() == (measured(),)
    with Store.open() as store:
        assert [one.name for one in store.verifications()] == ["old"]
        store.remember_verification([faulty("new")], shelf)
        assert store.counts()["verifications"] == 2


@pytest.mark.usefixtures("at_url")
def test_a_store_that_is_not_there_has_none(store_file: Path) -> None:
    """
    Nor has one without tables; and looking makes neither.
    """
    assert read_measurements() == ()
    environ = {"SPECREG_HOME": str(store_file.parent)}
    assert read_measurements(environ) == ()
    assert not store_file.parent.exists()
    store_file.parent.mkdir(parents=True)
    store_file.touch()
    assert read_measurements(environ) == ()


def test_nothing_to_keep_makes_no_store(store_file: Path) -> None:
    """
    A command that measured nothing does not open the store.
    """
    assert note_measurements([]) is None
    assert not store_file.parent.exists()


def test_two_processes_at_once_lose_nothing(store_file: Path) -> None:
    """
    Both find no store and make it; all that both kept is there once.
    """
    code = (
        "import sys\nfrom tests.store.measurements import measured\n"
        "from registry.store.store import Store\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
        "for number in range(10):\n"
        "    with Store.open() as store:\n        store.keep_measurements([measured(100 + number)])\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout
    assert other.stdout.readline() == "ready\n"
    assert other.stdin
    other.stdin.write("go\n")
    other.stdin.flush()
    for number in range(10):
        assert note_measurements([measured(number)]) is None
    other.communicate(timeout=60)

    assert other.returncode == 0
    with Store.open() as store:
        kept = found_in(store.measurements(latest=False))
    assert sorted(kept) == [*range(10), *range(100, 110)]
    assert store_file.exists()


READER = """
import sys
from registry.store.measured import read_measurements
print(len(read_measurements()))
found = {"sqlmodel", "sqlalchemy", "alembic", "psycopg", "numpy", "torch"} & set(sys.modules)
assert not found, found
"""


def test_the_reader_loads_no_database_library(own_home: Path) -> None:
    """
    Who plans does not wait for SQLModel.
    """
    del own_home
    assert note_measurements([measured()]) is None

    shown = subprocess.run([sys.executable, "-c", READER], check=True, capture_output=True, text=True).stdout

    assert shown == "1\n"


def test_a_rebuild_keeps_measurements(at_url: str, shelf: Shelf) -> None:
    """
    Files do not tell them, so a sound store keeps all of them, those that count no more included.
    """
    assert note_measurements([measured(1), measured(2)]) is None

    done = rebuild(shelf)

    assert (done.set_aside, done.measurements) == (None, 2)
    with Store.open(at_url) as store:
        assert found_in(store.measurements(latest=False)) == [2, 1]


def test_the_store_is_shown_with_what_counts_on_each_setup(specreg: Callable[..., Outcome]) -> None:
    """
    How many of each kind, and the latest time; beside them the number of all that is kept.
    """
    other = CPU.model_copy(update={"host": "there", "threads": 1})
    later = NOON + timedelta(hours=1)
    kept = [
        measured(),
        measured(2, at=later),
        measured(subject="pico-draft"),
        measured(kind="rounds", setup=other),
    ]
    assert note_measurements(kept) is None

    document = json.loads(specreg("store", "show", "--json").out)
    lines = specreg("store", "show").out.splitlines()

    assert document["measurements"] == 4
    assert document["setups"] == [
        {"setup": CPU.model_dump(), "kinds": {"forwards": 2}, "latest": later.isoformat()},
        {"setup": other.model_dump(), "kinds": {"rounds": 1}, "latest": NOON.isoformat()},
    ]
    assert lines[-4:] == [
        "measurements\t4",
        "machine\tsetup\tmeasured\tlatest",
        f"here\t{CPU}\t2 forwards\t2026-05-01 13:00:00 UTC",
        f"there\t{other}\t1 rounds\t2026-05-01 12:00:00 UTC",
    ]
    assert "4 measurements." in specreg("store", "rebuild").out


def test_the_latest_is_found_in_the_index(store_file: Path) -> None:
    """
    Old rows are passed over by their index, and their documents stay unread.
    """
    from registry.store.measurement import LATEST_IDS

    assert note_measurements([measured()]) is None
    with closing(sqlite3.connect(store_file)) as connection:
        steps = [row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {LATEST_IDS}")]

    assert any("COVERING INDEX specreg_measurement_latest" in step for step in steps)
