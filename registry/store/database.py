"""A database to keep the store in: opened so that processes wait for each other, its errors told in our words.

SQLite runs with a write-ahead log; a writer takes its lock at the start (`BEGIN IMMEDIATE`) and waits up to
30 s for it, so that no transaction fails in its middle for another's sake. On PostgreSQL writers queue by an
advisory lock of the database.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError, StatementError
from sqlmodel import Session

from registry.errors import StoreError
from registry.store.faults import corrupted, the_revision, told
from registry.store.place import BUSY_TIMEOUT_S, REVISION_TABLE, REVISIONS, StorePlace
from registry.store.view import open_to_read

CONNECT_TIMEOUT_S: Final = 10
_WRITERS_QUEUE: Final = text("SELECT pg_advisory_xact_lock(5283114096)")  # any number of our own
_NAP_S: Final = 0.02

T = TypeVar("T")


class Database:
    """One database and its connections."""

    def __init__(self, place: StorePlace, *, read_only: bool = False) -> None:
        self.place = place
        self._read_only = read_only
        self._engine = _sqlite(place.path, read_only) if place.path is not None else _postgres(place)
        self._writer = self._engine.execution_options(writing=True)

    def close(self) -> None:
        """Close every connection. The last one to leave a SQLite file folds its log into it."""
        self._engine.dispose()

    def run(self, work: Callable[[Session], T], *, writing: bool = False) -> T:
        """Do some work in one transaction: all of it, or none.

        Raises:
            StoreError: The database refused, with the reason.
        """
        try:
            with Session(self._writer if writing else self._engine, expire_on_commit=False) as session:
                if writing and self.place.path is None:
                    session.connection().execute(_WRITERS_QUEUE)
                result = work(session)
                session.commit()
                return result
        except StatementError as error:
            raise told(error.orig or error, self.place) from error
        except (SQLAlchemyError, ValueError, TypeError) as error:
            # Out of a damaged page comes text where a number was, or a date that is none.
            raise corrupted(
                str(error).splitlines()[0] if str(error) else type(error).__name__, self.place
            ) from error

    def revision(self) -> str | None:
        """The schema it has; None for one without tables.

        Raises:
            StoreError: It is newer than this specreg, or has none that can be one.
        """
        return self.run(lambda session: self._revision(session.connection()))

    def bring_up_to_date(self) -> None:
        """Make or migrate the tables where they are not this specreg's. Several processes may try at once."""
        if self.place.path is not None and not self._read_only:
            try:
                self.place.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise told(error, self.place) from error
        if self.revision() == REVISIONS[-1]:
            return
        if self.place.path is not None:
            self._write_ahead(self.place.path)
        self._migrate()

    def _revision(self, connection: Connection) -> str | None:
        if not inspect(connection).has_table(REVISION_TABLE):
            return None
        found = connection.execute(text(f"SELECT version_num FROM {REVISION_TABLE}")).scalars().all()  # noqa: S608
        return the_revision(found, self.place)

    def _migrate(self) -> None:
        from registry.store.migrating import migrate  # noqa: PLC0415 - a third of a second, once in a store's life

        def work(session: Session) -> None:
            connection = session.connection()
            if self._revision(connection) != REVISIONS[-1]:  # another process may have been first
                migrate(connection)

        self.run(work, writing=True)

    def _write_ahead(self, path: Path) -> None:
        """Turn the log on; SQLite does not wait by itself where another process is just doing so."""
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
                try:
                    connection.execute("PRAGMA journal_mode=WAL")
                finally:
                    connection.close()
            except (sqlite3.Error, UnicodeDecodeError) as error:
                busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > deadline:
                    raise told(error, self.place) from error
                time.sleep(_NAP_S)
            else:
                return


def _sqlite(path: Path, read_only: bool) -> Engine:
    url = URL.create("sqlite", database=str(path))
    if read_only:
        engine = create_engine(url, creator=lambda: open_to_read(path, timeout_s=BUSY_TIMEOUT_S))
    else:
        engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # the module's own BEGIN comes late, and takes no lock
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get("writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def _postgres(place: StorePlace) -> Engine:
    options: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_S}
    if "options=" not in (place.url or ""):
        options["options"] = f"-c lock_timeout={BUSY_TIMEOUT_S * 1000:.0f}"
    try:
        return create_engine(place.url or "", connect_args=options)
    except ModuleNotFoundError as error:
        raise StoreError(
            f"The store {place.shown} needs psycopg, which is not installed. "
            "`pip install 'specreg[postgres]'` brings it.",
            reason="address",
            store=place.shown,
        ) from error
    except (ArgumentError, ValueError) as error:  # their text may repeat the password
        raise StoreError(
            "SPECREG_DATABASE_URL cannot be read: expected postgresql://USER@HOST:PORT/DATABASE. Mend it, or unset it.",
            reason="address",
            store="SPECREG_DATABASE_URL",
        ) from error
