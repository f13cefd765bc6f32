"""The store: what checkpoints this machine has, their files, and every verification of them.

It remembers; it does not decide. Files are the truth, and `rebuild` makes the store anew from them. Writers wait for
each other, a transaction is there whole or not at all, and the schema is migrated when an older store is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sqlmodel import Session, col, func, select

from registry.places import Place
from registry.report import HeadReport, ModelReport
from registry.store.database import Database
from registry.store.place import store_place
from registry.store.records import Kind, StoredCheckpoint, StoredVerification
from registry.store.rows import all_checkpoints, see, verification_in, verification_row
from registry.store.sighting import Sighting, checkpoint_of, folder_text, place_of, sighting_of, sightings_in
from registry.store.tables import CheckpointRow, FileRow, VerificationRow

if TYPE_CHECKING:
    from registry.hub.outcome import DownloadReport
    from registry.shelf import Shelf


class Store:
    """An open store. Close it, or use it in a `with` block."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(
        cls, url: str | None = None, *, environ: Mapping[str, str] | None = None, read_only: bool = False
    ) -> Store:
        """Open the store; it is made where there is none, and migrated where it is older.

        Args:
            url: `sqlite:///PATH` or `postgresql://...`; SPECREG_DATABASE_URL, or `store.db` under
                SPECREG_HOME, when None.
            environ: Where these are looked up; the process's environment when None.
            read_only: Only read, and neither make nor migrate; works in a home that may not be written.

        Raises:
            StoreError: It cannot be used: locked, read-only, full, corrupted, newer, out of reach.
        """
        return cls.at(Database(store_place(url, environ), read_only=read_only), read_only=read_only)

    @classmethod
    def at(cls, database: Database, *, read_only: bool = False) -> Store:
        """The store in that database, which is closed again where it cannot be used. Raises StoreError."""
        try:
            if read_only:
                database.revision()
            else:
                database.bring_up_to_date()
        except BaseException:
            database.close()
            raise
        return cls(database)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    @property
    def shown(self) -> str:
        """Its path, or its URL without the password."""
        return self._database.place.shown

    def revision(self) -> str | None:
        """The schema's revision."""
        return self._database.revision()

    def remember_download(self, report: DownloadReport, shelf: Shelf) -> None:
        """Remember the checkpoints that a download left here. A dry one left nothing.

        Args:
            report: What was downloaded.
            shelf: The shelf it was downloaded to, reloaded since.
        """
        if not report.dry_run:
            seen = tuple(sightings_in(report, shelf))
            self._write(lambda session: see(session, seen))

    def remember_verification(
        self,
        reports: Iterable[HeadReport | ModelReport],
        shelf: Shelf,
        *,
        checked_at: datetime | None = None,
    ) -> None:
        """Keep every report, and see the checkpoints that were read.

        Args:
            reports: What verification found.
            shelf: The shelf whose checkpoints were verified.
            checked_at: When the reading began; now when None. A file changed after it counts as not verified.
        """
        moment = (checked_at or datetime.now(UTC)).astimezone(UTC)
        found = [(_kind(report), report) for report in reports]
        named = dict.fromkeys((kind, report.name) for kind, report in found)
        looked = {one: _look(shelf, *one) for one in named}
        seen = [sighting for _, sighting in looked.values() if sighting is not None]
        rows = [
            _verification_of(report, kind, looked[kind, report.name][0], moment) for kind, report in found
        ]

        def work(session: Session) -> None:
            see(session, seen)
            session.add_all(map(verification_row, rows))

        self._write(work)

    def replace(self, seen: Sequence[Sighting], first_seen: Mapping[tuple[str, str, str], datetime]) -> None:
        """Make these the only checkpoints. `first_seen` tells of (kind, name, folder) when that was, if known."""

        def work(session: Session) -> None:
            kept = set(see(session, seen, first_seen))
            for row in session.exec(select(CheckpointRow)).all():
                if row.id not in kept:
                    session.delete(row)

        self._write(work)

    def keep(self, verifications: Sequence[StoredVerification]) -> None:
        """Put in verifications that were read from elsewhere."""
        self._write(lambda session: session.add_all(map(verification_row, verifications)))

    def checkpoints(self) -> tuple[StoredCheckpoint, ...]:
        """Every checkpoint, with its files, by kind, name and folder."""
        return self._database.run(all_checkpoints)

    def verifications(
        self, name: str | None = None, *, limit: int | None = None
    ) -> tuple[StoredVerification, ...]:
        """Verifications of that head or model, or of all; the latest first, at most `limit`."""

        def work(session: Session) -> tuple[StoredVerification, ...]:
            query = select(VerificationRow).order_by(
                col(VerificationRow.checked_at).desc(), col(VerificationRow.id).desc()
            )
            query = query if name is None else query.where(VerificationRow.name == name)
            return tuple(map(verification_in, session.exec(query.limit(limit)).all()))

        return self._database.run(work)

    def counts(self) -> dict[str, int]:
        """How many checkpoints, files and verifications it holds."""
        tables: dict[str, Any] = {
            "checkpoints": CheckpointRow,
            "files": FileRow,
            "verifications": VerificationRow,
        }
        return self._database.run(
            lambda session: {
                name: session.exec(select(func.count()).select_from(table)).one()
                for name, table in tables.items()
            }
        )

    def _write(self, work: Callable[[Session], object]) -> None:
        self._database.run(work, writing=True)


def specreg_version() -> str:
    """The version of specreg that runs; 'unknown' where it was not installed."""
    try:
        return version("specreg")
    except PackageNotFoundError:
        return "unknown"


def _kind(report: HeadReport | ModelReport) -> Kind:
    return "head" if isinstance(report, HeadReport) else "model"


def _look(shelf: Shelf, kind: Kind, name: str) -> tuple[Place | None, Sighting | None]:
    """Where it is, and what of it is there; neither where the shelf has no such entry."""
    checkpoint = checkpoint_of(shelf, kind, name)
    if checkpoint is None:
        return None, None
    return place_of(shelf, checkpoint), sighting_of(shelf, checkpoint)


def _verification_of(
    report: HeadReport | ModelReport, kind: Kind, place: Place | None, moment: datetime
) -> StoredVerification:
    folder = place.folder if place is not None else None
    return StoredVerification(
        kind=kind,
        name=report.name,
        checked_at=moment,
        ok=report.ok,
        faults=report.faults,
        folder=folder_text(folder) if folder is not None else None,
        commit=place.commit if place is not None else None,
        specreg_version=specreg_version(),
    )
