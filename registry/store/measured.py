"""What was measured, out of the store's SQLite file by the standard library.

As in `view`, SQLModel, which takes half a second to load, is not needed; only a store on PostgreSQL is asked through
it. But where `view` passes over a store that cannot be looked into, this tells of it: no file could say it otherwise,
and whoever plans without measurements plans by assumptions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from registry.planning.measurement import Measurement
from registry.store.faults import is_there, the_revision, told
from registry.store.measurement import LATEST_IDS, named_measurement
from registry.store.place import BUSY_TIMEOUT_S, REVISION_TABLE, StorePlace, holds_measurements, store_place
from registry.store.view import open_to_read

_QUERY: Final = f"""
SELECT id, kind, subject, law, fingerprint, measured_at, setup, document, provenance FROM specreg_measurement
WHERE id IN ({LATEST_IDS}) ORDER BY measured_at DESC, id DESC
"""  # noqa: S608 - our own words


def read_measurements(environ: Mapping[str, str] | None = None) -> tuple[Measurement, ...]:
    """The latest measurement of each kind, subject, setup and law; those made last come first.

    A store that is missing, or older than measurements, has none.

    Args:
        environ: Where the store's place is looked up; the process's environment when None.

    Raises:
        StoreError: It is there and cannot be read: locked, corrupted, newer, out of reach.
    """
    place = store_place(environ=environ)
    if place.path is not None:
        return _read(place, place.path)
    from registry.store.store import Store  # noqa: PLC0415 - half a second that SQLite does without

    with Store.open(environ=environ, read_only=True) as store:
        return store.measurements()


def _read(place: StorePlace, path: Path) -> tuple[Measurement, ...]:
    if not is_there(place):
        return ()
    try:
        with closing(open_to_read(path, timeout_s=BUSY_TIMEOUT_S)) as connection:
            # One transaction: a migration beside us is seen whole or not at all.
            connection.execute("BEGIN")
            if not holds_measurements(_revision(connection, place)):
                return ()
            cursor = connection.execute(_QUERY)
            names = [column[0] for column in cursor.description]
            return tuple(named_measurement(dict(zip(names, row, strict=True)), place) for row in cursor)
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
        raise told(error, place) from error


def _revision(connection: sqlite3.Connection, place: StorePlace) -> str | None:
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
    if connection.execute(query, (REVISION_TABLE,)).fetchone() == (0,):
        return None
    found = connection.execute(f"SELECT version_num FROM {REVISION_TABLE}").fetchall()  # noqa: S608
    return the_revision([number for (number,) in found], place)
