"""What went wrong with a store, told as one sentence: what, why, next step."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Sequence
from typing import Final

from registry.errors import StoreError, StoreReason
from registry.store.place import BUSY_TIMEOUT_S, REVISIONS, StorePlace, is_newer
from registry.store.view import NO_ROOM

# SQLite's primary codes; the rest of a code tells the circumstance.
_OF_SQLITE: Final[dict[int, StoreReason]] = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_READONLY: "read-only",
    sqlite3.SQLITE_CANTOPEN: "read-only",
    sqlite3.SQLITE_PERM: "read-only",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_CORRUPT: "corrupted",
    sqlite3.SQLITE_NOTADB: "corrupted",
    sqlite3.SQLITE_ERROR: "corrupted",  # our statements are sound: a table or column is not there
    sqlite3.SQLITE_CONSTRAINT: "corrupted",
    sqlite3.SQLITE_MISMATCH: "corrupted",
}
# A file that ends before its header says so.
_CUT: Final = (sqlite3.SQLITE_IOERR_SHORT_READ,)
_OF_POSTGRES: Final[dict[str, StoreReason]] = {
    "55P03": "locked",
    "40P01": "locked",
    "53100": "full",
    "25006": "read-only",
    "42501": "read-only",
    "42P01": "corrupted",
    "42703": "corrupted",
    "XX001": "corrupted",
    "XX002": "corrupted",
}

_OUT_OF_REACH: Final = (
    "08",
    "28",
    "3D",
    "57",
)  # classes: connection, authorisation, no such database, shutdown
_TOO_MANY: Final = "53300"


def told(error: BaseException, place: StorePlace) -> StoreError:
    """The error of a database's driver in our words.

    Args:
        error: What sqlite3 or psycopg raised, or an OSError or ValueError met around it.
        place: Which store it was.
    """
    if isinstance(error, NotADirectoryError | FileExistsError):
        message = (
            f"The store {place.shown} cannot be opened or written: a file is in the place of one of its folders. "
            "Point SPECREG_HOME to a folder."
        )
        return StoreError(message, reason="read-only", store=place.shown)
    reason = _reason(error)
    detail = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return StoreError(_sentence(reason, place, _fit(detail, place)), reason=reason, store=place.shown)


def is_there(place: StorePlace) -> bool:
    """Whether a SQLite file is where the store's is to be; a database of a server counts as there.

    Raises:
        StoreError: It cannot be looked for: a folder on the way is none, or may not be looked into.
    """
    if place.path is None:
        return True
    try:
        place.path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise told(error, place) from error
    return True


def newer(revision: str, place: StorePlace) -> StoreError:
    """The store was written by a later specreg."""
    message = (
        f"The store {place.shown} is newer than this specreg: expected schema {REVISIONS[-1]} or before, "
        f"got {revision}. Upgrade specreg, or point SPECREG_HOME elsewhere."
    )
    return StoreError(message, reason="newer", store=place.shown)


def corrupted(detail: str, place: StorePlace) -> StoreError:
    """The store does not hold what a store holds."""
    sentence = _sentence("corrupted", place, _fit(detail, place))
    return StoreError(sentence, reason="corrupted", store=place.shown)


def the_revision(found: Sequence[object], place: StorePlace) -> str:
    """The one revision among what a store's own table of it holds.

    Raises:
        StoreError: It is newer than this specreg, or there is none that can be one.
    """
    if len(found) == 1 and is_newer(str(found[0])):
        raise newer(str(found[0]), place)
    if len(found) != 1 or found[0] not in REVISIONS:
        raise corrupted(f"expected one schema revision, got {', '.join(map(repr, found)) or 'none'}", place)
    return str(found[0])


def _fit(detail: str, place: StorePlace) -> str:
    """What the driver says, unless it holds a part of what may be the password."""
    if not place.gives_away(detail):
        return detail
    return (
        "what the driver says is not repeated here, since it may hold a part of the password, in which @ is to "
        "be written %40, / %2F, ? %3F and # %23"
    )


def _reason(error: BaseException) -> StoreReason:
    if isinstance(error, sqlite3.Error):
        return _of_sqlite(error)
    if isinstance(error, OSError):
        return "full" if error.errno == errno.ENOSPC else "read-only"
    if isinstance(error, ValueError):  # a value of a kind that is never written there
        return "corrupted"
    state = getattr(error, "sqlstate", None)
    if state is None or state[:2] in _OUT_OF_REACH or state == _TOO_MANY:
        return "unreachable"
    return _OF_POSTGRES.get(state, "other")


def _of_sqlite(error: sqlite3.Error) -> StoreReason:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by the module itself: text or a number that cannot be one
        return "corrupted"
    if code in NO_ROOM:
        return "full"
    return "corrupted" if code in _CUT else _OF_SQLITE.get(code & 0xFF, "other")


def _sentence(reason: StoreReason, place: StorePlace, detail: str) -> str:
    store = f"The store {place.shown}"
    if reason == "locked":
        return (
            f"{store} is locked: another process held it for {BUSY_TIMEOUT_S:.0f} s. Nothing was written. "
            "Wait until that ends, and try again."
        )
    if reason == "full":
        return f"{store} cannot be written: its disk is full ({detail}). Nothing was written. Make room, and try again."
    if reason == "read-only":
        step = "Make its folder writable, or point SPECREG_HOME to one that is."
        if place.path is None:
            step = "Ask its owner for the right to write."
        return f"{store} cannot be opened or written: {detail}. {step}"
    if reason == "corrupted":
        step = "`specreg store rebuild` sets the file aside and makes the store anew from what is on this machine."
        if place.path is None:
            step = "Its owner has to restore it, or to drop the tables that begin with specreg_."
        return f"{store} is corrupted: {detail}. {step}"
    if reason == "unreachable":
        return (
            f"{store} cannot be reached: {detail}. Check SPECREG_DATABASE_URL and the server, and try again."
        )
    return f"{store} cannot be used: {detail}. Check its disk, and try again."
