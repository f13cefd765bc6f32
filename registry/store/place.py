"""Where the store is: a SQLite file under SPECREG_HOME, or the PostgreSQL database of SPECREG_DATABASE_URL.

The one place that reads the variable, shared by what writes the store (SQLModel) and what only looks into it
(the standard library's sqlite3).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from registry.errors import StoreError
from registry.home import home

URL_VARIABLE: Final = "SPECREG_DATABASE_URL"
FILE_NAME: Final = "store.db"
BUSY_TIMEOUT_S: Final = 30.0
REVISIONS: Final = ("0001", "0002", "0003")
REVISION_TABLE: Final = "specreg_revision"
"""Of specreg's own name, as all its tables are: a team's database may hold other programs' tables too."""

_MEASURED_SINCE: Final = "0003"
_REVISION = re.compile(r"[0-9]{4}")
_POSTGRES = re.compile(r"postgres(?:ql)?(?:\+psycopg)?://")
_HOST_AND_DATABASE = re.compile(r"(?:[\w.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?(?:/[\w.~%+-]*)?", re.ASCII)
_USER = re.compile(r"[\w.+-]*")
_SECRET_OPTION = re.compile(r"[?&][^=&]*pass[^=&]*=([^&]*)", re.IGNORECASE)
_WORDS = re.compile(r"[^\W_]+")
_LONG = 4  # letters; a shorter word of a password may stand within any other word by chance


@dataclass(frozen=True, kw_only=True)
class StorePlace:
    """Where a store is: `path` of a SQLite file, or `url` of a PostgreSQL database with its password in it."""

    path: Path | None = None
    url: str | None = None

    @property
    def shown(self) -> str:
        """For people: the path, or host and database of the URL; `***` where they cannot be told from a password.

        >>> StorePlace(url="postgresql://me:a/b#c@d@server:5432/team?sslmode=require").shown
        'postgresql://server:5432/team'
        >>> StorePlace(url="postgresql://me:secret").shown
        'postgresql://***'
        """
        if self.path is not None:
            return str(self.path)
        before, _, rest = self._after_scheme.rpartition("@")
        shown = rest.partition("?")[0]
        # With "?" before the last "@", that may stand in an option's value as well as in the password.
        plain = "?" not in before and _HOST_AND_DATABASE.fullmatch(shown)
        return f"postgresql://{shown if plain else '***'}"

    def gives_away(self, text: str) -> bool:
        """Whether a text holds any word of what may be the URL's password.

        A driver takes a URL apart otherwise than whoever wrote it had in mind, and so may take half of a password
        for the server's name, and say so.

        >>> place = StorePlace(url="postgresql://me:top@sekret/pw@server/team")
        >>> place.gives_away("failed to resolve host 'sekret'"), place.gives_away("no role 'me' at server")
        (True, False)
        """
        before, _, rest = self._after_scheme.rpartition("@")
        user, _, password = before.partition(":")
        server = rest.partition("?")[0]
        parts = [password, *_SECRET_OPTION.findall(f"{before}?{rest}")]
        if not _USER.fullmatch(user):
            parts.append(user)
        if not _HOST_AND_DATABASE.fullmatch(server):
            parts.append(server.partition(":")[2])
        words = {word.casefold() for part in parts for word in _WORDS.findall(f"{part} {unquote(part)}")}
        told = text.casefold()
        return any(word in (told if len(word) >= _LONG else _WORDS.findall(told)) for word in words)

    @property
    def _after_scheme(self) -> str:
        return (self.url or "").partition("://")[2]


def store_place(url: str | None = None, environ: Mapping[str, str] | None = None) -> StorePlace:
    """Where the store is.

    Args:
        url: `postgresql://...` or `sqlite:///PATH`; SPECREG_DATABASE_URL, or `store.db` under
            SPECREG_HOME, when None.
        environ: Where the variables are looked up; the process's environment when None.

    Raises:
        StoreError: The URL is of another kind. It is not repeated in the message: it may hold a password.
    """
    given = url or (os.environ if environ is None else environ).get(URL_VARIABLE)
    if not given:
        return StorePlace(path=home(environ) / FILE_NAME)
    if given.startswith("sqlite:///") and given.partition("?")[0] != "sqlite:///":
        return StorePlace(
            path=Path(given.partition("?")[0].removeprefix("sqlite:///")).expanduser().absolute()
        )
    if _POSTGRES.match(given):
        return StorePlace(url=_POSTGRES.sub("postgresql+psycopg://", given, count=1))
    raise StoreError(
        f"{URL_VARIABLE} cannot be used: expected postgresql://USER@HOST/DATABASE or sqlite:///PATH, got an "
        f"address of the kind {given.partition(':')[0][:20]!r}. Mend it, or unset it.",
        reason="address",
        store=URL_VARIABLE,
    )


def is_newer(revision: str) -> bool:
    """Whether a later specreg wrote that revision.

    >>> is_newer("0001"), is_newer("9999")
    (False, True)
    """
    return bool(_REVISION.fullmatch(revision)) and revision > REVISIONS[-1]


def holds_measurements(revision: str | None) -> bool:
    """Whether a store of that revision has a table of measurements; one without tables has none.

    >>> holds_measurements(None), holds_measurements("0002"), holds_measurements("0003")
    (False, False, True)
    """
    return revision is not None and revision >= _MEASURED_SINCE
