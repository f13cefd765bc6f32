"""When each checkpoint here was last verified: a look into the store's SQLite file by the standard library.

Loading SQLModel takes half a second; what only lists and shows does without. So a store on PostgreSQL is not
looked into here: there nothing is known. Nor is anything known where the store is missing, locked, newer, or
damaged: that is no error, since the files are the truth, and the commands that write the store tell of it.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, TypeVar

from registry.errors import CheckpointError, StoreError
from registry.files.folder import CheckpointFolder
from registry.places import Place
from registry.store.place import REVISION_TABLE, REVISIONS, store_place

PATIENCE_S: Final = 0.2
# A full disk shows in these too, where it is met while the shared index of the log grows.
NO_ROOM: Final = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_TRUNCATE)
_MAY_NOT: Final = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL)

T = TypeVar("T")

Known = dict[tuple[str, str], "LastCheck"]


@dataclass(frozen=True, kw_only=True)
class LastCheck:
    """The last verification of a name: when its reading began (UTC), how it ended, and where it read.

    `recorded` is whether there was a record to hold the files against.
    """

    checked_at: datetime
    ok: bool
    recorded: bool
    folder: str | None
    commit: str | None


class LastChecks:
    """The last verification of every head and model, as the store tells it."""

    def __init__(self, known: Known | None = None) -> None:
        self._known = known or {}

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> LastChecks:
        """Look into the store; empty where it cannot be looked into."""
        return cls(_looked_up(_last_of_each, environ))

    def of(self, kind: Literal["head", "model"], name: str, place: Place) -> LastCheck | None:
        """The last verification, if it tells of what is here now.

        None where it read another folder or commit, or where a file or folder was put there, changed or taken away
        since its reading began.
        """
        check = self._known.get((kind, name))
        if check is None or place.folder is None:
            return None
        if check.folder != str(place.folder.absolute()) or check.commit != place.commit:
            return None
        changed_s = _last_change_s(place.folder)
        return check if changed_s is not None and changed_s <= check.checked_at.timestamp() else None


def known_checkpoints(environ: Mapping[str, str] | None = None) -> set[tuple[str, str, str, str | None]]:
    """(kind, name, folder, commit) of every checkpoint in the store; empty where it cannot be looked into."""
    query = "SELECT kind, name, folder, commit_sha FROM specreg_checkpoint"
    return _looked_up(lambda connection: set(connection.execute(query)), environ) or set()


def open_to_read(path: Path, *, timeout_s: float) -> sqlite3.Connection:
    """Open a SQLite file read-only, also where nothing may be written beside it.

    Raises:
        sqlite3.Error: It cannot be read.
    """
    try:
        return _opened(path, "mode=ro", timeout_s)
    except sqlite3.OperationalError as error:
        # With a log SQLite wants to write an index beside it. Where it may not, or the disk has no room for it, and
        # the log is empty or gone, the file alone is the whole store, and nobody can be writing it.
        log = path.with_name(f"{path.name}-wal")
        code = error.sqlite_errorcode
        may_not = code & 0xFF in _MAY_NOT or code in NO_ROOM
        if not may_not or (log.exists() and log.stat().st_size):
            raise
        return _opened(path, "immutable=1", timeout_s)


def _opened(path: Path, how: str, timeout_s: float) -> sqlite3.Connection:
    # SQLAlchemy hands connections from thread to thread, one at a time.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}", uri=True, timeout=timeout_s, check_same_thread=False
    )
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _looked_up(look: Callable[[sqlite3.Connection], T], environ: Mapping[str, str] | None) -> T | None:
    try:
        path = store_place(environ=environ).path
        if path is None or not path.is_file():
            return None
        with closing(open_to_read(path, timeout_s=PATIENCE_S)) as connection:
            (revision,) = connection.execute(f"SELECT version_num FROM {REVISION_TABLE}").fetchone()  # noqa: S608
            return look(connection) if revision in REVISIONS else None
    except (sqlite3.Error, StoreError, OSError, ValueError, TypeError):
        return None


def _last_of_each(connection: sqlite3.Connection) -> Known:
    # SQLite takes the other columns from the row that has the maximum.
    rows = connection.execute(
        "SELECT kind, name, ok, faults, folder, commit_sha, max(checked_at) FROM specreg_verification "
        "GROUP BY kind, name"
    )
    return {
        (kind, name): LastCheck(
            checked_at=datetime.fromisoformat(checked_at).replace(tzinfo=UTC),
            ok=bool(ok),
            recorded=not (ok and json.loads(faults)),
            folder=folder,
            commit=commit,
        )
        for kind, name, ok, faults, folder, commit, checked_at in rows
    }


def _last_change_s(folder: Path) -> float | None:
    """The latest time of a checkpoint's files, its links and its folders; None where they cannot be seen.

    A file's own time can be set to any value, and copying keeps it; the time of its inode's change cannot.
    """
    try:
        names = CheckpointFolder(folder).names()
        paths = {folder, *(folder / name for name in names)}
        paths |= {parent for path in paths for parent in path.parents if parent.is_relative_to(folder)}
        statuses = [look for path in paths for look in (os.stat(path), os.lstat(path))]  # noqa: PTH116
    except (OSError, CheckpointError):
        return None
    return max(max(status.st_mtime, status.st_ctime) for status in statuses)
