"""An older store is brought up to date with its rows; a newer one is refused."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlmodel import SQLModel

from registry.errors import StoreError
from registry.shelf import Shelf
from registry.store.migrating import FOLDER, migrate
from registry.store.place import REVISION_TABLE, REVISIONS, store_place
from registry.store.store import Store
from registry.store.view import LastChecks
from tests.store.conftest import HEAD
from tests.store.reports import faulty

FIRST_ROWS = f"""
INSERT INTO specreg_checkpoint (kind, name, source, folder, first_seen, last_seen)
VALUES ('head', '{HEAD}', 'folder', '/x', '2026-01-01 00:00:00.000000', '2026-01-02 00:00:00.000000');
INSERT INTO specreg_file (checkpoint_id, path, size_bytes) VALUES (1, 'config.json', 44);
INSERT INTO specreg_verification (kind, name, checked_at, ok, faults, specreg_version)
VALUES ('head', '{HEAD}', '2026-01-01 00:00:00.000000', true, '[]', '0.1.0');
"""  # noqa: S608 - our own words


def driver_url(url: str) -> str:
    """The URL as SQLAlchemy wants it."""
    return store_place(url).url or url


def make_first(url: str) -> None:
    """A store as the first revision had it, with rows in every table."""
    engine = create_engine(driver_url(url))
    with engine.begin() as connection:
        migrate(connection, to="0001")
        for statement in filter(str.strip, FIRST_ROWS.split(";\n")):
            connection.execute(text(statement))
    engine.dispose()


def test_the_first_revision_is_migrated_with_its_rows(store_url: str, shelf: Shelf) -> None:
    """
    What the first version wrote is there after the upgrade, and new rows go beside it.
    """
    make_first(store_url)

    with Store.open(store_url) as store:
        assert store.revision() == "0003"
        assert store.counts() == {"checkpoints": 1, "files": 1, "verifications": 1, "measurements": 0}
        (seen,) = store.checkpoints()
        assert (seen.folder, seen.files[0].size_bytes, seen.first_seen.year) == ("/x", 44, 2026)
        assert store.verifications()[0].ok is True
        store.remember_verification([faulty("new")], shelf)
        assert [one.ok for one in store.verifications()] == [False, True]


def test_tables_and_migrations_say_the_same(store_url: str) -> None:
    """
    A store made by the migrations differs in nothing from the tables as declared.
    """
    Store.open(store_url).close()

    engine = create_engine(driver_url(store_url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": REVISION_TABLE})
        differences = compare_metadata(context, SQLModel.metadata)
    engine.dispose()

    assert differences == []


def test_the_known_revisions_are_those_there_are() -> None:
    """
    What the standard library's look goes by is what Alembic would apply, one after the other.
    """
    config = Config()
    config.set_main_option("script_location", str(FOLDER))

    found = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]

    assert tuple(reversed(found)) == REVISIONS


def test_a_newer_store_is_refused(store_url: str, shelf: Shelf) -> None:
    """
    The sentence names both schemas; nothing is written, and nothing looks into it.
    """
    with Store.open(store_url) as store:
        store.remember_verification([faulty("kept")], shelf)
    engine = create_engine(driver_url(store_url))
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {REVISION_TABLE} SET version_num = '0999'"))  # noqa: S608

    with pytest.raises(StoreError) as caught:
        Store.open(store_url)

    assert caught.value.reason == "newer"
    assert "expected schema 0003 or before, got 0999" in str(caught.value)
    assert "Upgrade specreg" in str(caught.value)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {REVISION_TABLE} SET version_num = '0003'"))  # noqa: S608
    engine.dispose()
    with Store.open(store_url) as store:
        assert store.counts()["verifications"] == 1


def test_of_a_newer_store_nothing_is_known(store_file: Path, shelf: Shelf) -> None:
    """
    `list` does not guess at a schema it has not seen.
    """
    with Store.open() as store:
        store.remember_verification([faulty("one")], shelf)
    place = shelf.head_place(next(head for head in shelf.catalog.heads if head.name == HEAD))
    assert LastChecks.read().of("head", HEAD, place) is not None

    with closing(sqlite3.connect(store_file)) as connection, connection:
        connection.execute(f"UPDATE {REVISION_TABLE} SET version_num = '0999'")  # noqa: S608

    assert LastChecks.read().of("head", HEAD, place) is None


def test_a_first_store_is_looked_into_before_it_is_migrated(store_file: Path, shelf: Shelf) -> None:
    """
    Nobody has to migrate only to list.
    """
    store_file.parent.mkdir(parents=True)
    make_first(f"sqlite:///{store_file}")
    place = shelf.head_place(next(head for head in shelf.catalog.heads if head.name == HEAD))
    with closing(sqlite3.connect(store_file)) as connection, connection:
        connection.execute(
            "UPDATE specreg_verification SET folder = ?, checked_at = '2999-01-01 00:00:00.000000'",
            (str(place.folder),),
        )

    check = LastChecks.read().of("head", HEAD, place)

    assert check is not None
    assert check.ok


def test_processes_that_make_the_store_at_once_all_get_it(store_url: str) -> None:
    """
    Two that start on an empty place: one makes the tables, and none is told of a lock or a clash.
    """
    code = "import sys; from registry.store.store import Store; Store.open(sys.argv[1]).close()"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, store_url], stderr=subprocess.PIPE) for _ in range(2)
    ]
    ended = [process.communicate(timeout=120)[1] for process in processes]

    assert [process.returncode for process in processes] == [0] * 2, ended
    with Store.open(store_url) as store:
        assert store.revision() == "0003"
