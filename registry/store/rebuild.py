"""The store made anew from the files on this machine.

A store that can be read is brought in line where it is. One that cannot is set aside under another name, never
deleted, and a new one takes its place, with every verification and every measurement that could still be read out
of the old.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from registry.errors import StoreError
from registry.home import downloaded_lock_path
from registry.lock import read_downloaded
from registry.store.database import Database
from registry.store.faults import corrupted, told
from registry.store.place import BUSY_TIMEOUT_S, StorePlace, store_place
from registry.store.salvage import UNREADABLE, salvage
from registry.store.sighting import Sighting, sightings_on
from registry.store.store import Store
from registry.store.view import open_to_read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.shelf import Shelf

_Known: TypeAlias = tuple[str, str, str]
"""Kind, name and folder of a checkpoint."""

COMPANIONS: Final = ("-wal", "-shm")
"""What SQLite keeps beside a file: its log, and the index of the log."""


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """What the store holds now.

    `set_aside` is where the damaged file went, if it was damaged. `left_out` are heads and models, by name, that were
    recorded here and that no catalog of the shelf has.
    """

    store: str
    checkpoints: int
    files: int
    verifications: int
    measurements: int
    set_aside: Path | None
    left_out: tuple[str, ...]


def rebuild(shelf: Shelf, *, url: str | None = None, environ: Mapping[str, str] | None = None) -> Rebuilt:
    """Make the store tell what the shelf's places hold now. What was verified and measured stays where it can be read.

    Nobody invents it: what the old store lost, the next `specreg verify` or `specreg measure` writes. A process that
    has the damaged file open goes on with it where it was set aside.

    Args:
        shelf: Says what to look for, and where.
        url, environ: As for `Store.open`.

    Raises:
        StoreError: Locked, read-only, full, newer or out of reach; nothing was changed.
        UsageError: The record of what was downloaded cannot be read.
    """
    place = store_place(url, environ)
    recorded = read_downloaded(downloaded_lock_path(environ))
    seen = tuple(sightings_on(shelf))
    if place.path is None:
        done, before = _in_place(place, seen)
    else:
        with _alone(place, place.path):
            sound = _is_sound(place, place.path)
            done, before = _in_place(place, seen) if sound else _anew(place, place.path, seen)
    known = {*shelf.catalog.models, *(head.name for head in shelf.catalog.heads)}
    here = {name for _, name, folder in before if Path(folder).is_dir()}
    return replace(done, left_out=tuple(sorted({*recorded.heads, *recorded.models, *here} - known)))


def _in_place(place: StorePlace, seen: Sequence[Sighting]) -> tuple[Rebuilt, Collection[_Known]]:
    """What came of it, and the checkpoints that there were before."""
    with Store.at(Database(place)) as store:
        before = [(one.kind, one.name, one.folder) for one in store.checkpoints()]
        store.replace(seen, {})
        return Rebuilt(store=place.shown, set_aside=None, left_out=(), **store.counts()), before


def _anew(place: StorePlace, path: Path, seen: Sequence[Sighting]) -> tuple[Rebuilt, Collection[_Known]]:
    saved = salvage(path)
    new = path.with_name(f"{path.name}.new")
    try:
        _remove(new)  # left by a rebuild that died: we are alone here
        with Store.at(Database(StorePlace(path=new))) as store:
            store.keep(saved.verifications, saved.measurements)
            store.replace(seen, saved.first_seen)
            counts = store.counts()
        if any(new.with_name(new.name + suffix).exists() for suffix in COMPANIONS):
            raise corrupted("the log of the new file could not be folded into it", place)
        aside = _set_aside(path)
        new.replace(path)
    except OSError as error:
        raise told(error, place) from error
    finally:
        with suppress(OSError):
            _remove(new)
    return Rebuilt(store=place.shown, set_aside=aside, left_out=(), **counts), saved.first_seen.keys()


def _is_sound(place: StorePlace, path: Path) -> bool:
    """Whether every page and every row can be read; an empty store is made where there is none."""
    try:
        with Store.at(Database(place)) as store:
            store.checkpoints()
            store.verifications()
            store.measurements(latest=False)
        with closing(open_to_read(path, timeout_s=BUSY_TIMEOUT_S)) as connection:
            return bool(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",))
    except StoreError as error:
        if error.reason != "corrupted":
            raise
        return False
    except UNREADABLE as error:
        refusal = told(error, place)
        if refusal.reason != "corrupted":
            raise refusal from error
        return False


def _remove(file: Path) -> None:
    for suffix in ("", *COMPANIONS):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def _set_aside(path: Path) -> Path:
    """Give the file and its companions another name, by which SQLite finds them together still.

    The file keeps its old name too until the new one takes it: who dies here leaves a store that can be rebuilt.
    """
    aside = path.with_name(f"{path.name}.bad-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
    try:
        os.link(path, aside)
    except OSError:  # a file system without hard links
        path.rename(aside)
    for suffix in COMPANIONS:  # last, since a log left here would be taken for the new file's
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


@contextmanager
def _alone(place: StorePlace, path: Path) -> Iterator[None]:
    """One rebuild at a time: an empty SQLite file serves as the lock, which the system drops if we die."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        guard = sqlite3.connect(
            path.with_name(f"{path.name}.rebuild"), timeout=BUSY_TIMEOUT_S, isolation_level=None
        )
    except (OSError, sqlite3.Error) as error:
        raise told(error, place) from error
    with closing(guard):
        try:
            guard.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            raise told(error, place) from error
        yield
