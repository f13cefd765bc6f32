"""A head in a folder of the user's own, and stores to remember it in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from registry.lock import Lock, lock_folder, write_lock
from registry.records import Head
from registry.shelf import Shelf
from tests.store.server import fresh_database, missing_programs, shared_server

ROOT = Path(__file__).parent.parent.parent
HEAD = "pico-little--to--pico-draft/exp-weight6-layer3"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a shipped head, with a catalog and a lock of its own."""
    folder = tmp_path / "mine" / HEAD
    shutil.copytree(ROOT / "heads" / "pico" / HEAD, folder)
    (tmp_path / "catalog.yaml").write_text(
        "version: 1\nsources:\n  mine: {path: ./mine}\nheads:\n"
        "  - {source: pico-little, target: pico-draft, run: exp-weight6-layer3, from: mine}\n"
    )
    write_lock(Lock().with_head(HEAD, lock_folder(folder)), tmp_path / "catalog.lock")
    monkeypatch.setenv("SPECREG_CATALOG", str(tmp_path / "catalog.yaml"))
    return folder


@pytest.fixture
def shelf(folder: Path) -> Shelf:
    """The shelf with that head on it."""
    del folder
    return Shelf.open()


@pytest.fixture
def head(shelf: Shelf) -> Head:
    """That head."""
    return next(head for head in shelf.catalog.heads if head.name == HEAD)


@pytest.fixture
def store_file(own_home: Path) -> Path:
    """Where the store of this test is."""
    return own_home / "specreg" / "store.db"


@pytest.fixture
def postgres_server() -> str:
    """The URL of a PostgreSQL server of these tests' own."""
    lacking = missing_programs()
    if lacking:
        pytest.skip(lacking)
    return shared_server()


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """The URL of an empty database on it."""
    return fresh_database(postgres_server)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return str(request.getfixturevalue("postgres_url"))
