"""The store: what checkpoints this machine has, their files, every verification of them, and what was measured.

It remembers; it does not decide. Files are the truth, and `rebuild` makes the store anew from them; what was
verified and measured, which no file tells, stays as far as it can be read. Writers wait for each other, a transaction
is there whole or not at all, and the schema is migrated when an older store is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from sqlmodel import Session, col, func, select

from registry.places import Place
from registry.planning.measurement import Measurement
from registry.report import HeadReport, ModelReport
from registry.store.database import Database
from registry.store.measurement import named_measurement
from registry.store.place import holds_measurements, store_place
from registry.store.records import Kind, StoredCheckpoint, StoredMeasurement, StoredVerification
from registry.store.rows import (
    all_checkpoints,
    measurement_row,
    measurement_rows,
    see,
    verification_in,
    verification_row,
)
from registry.store.sighting import Sighting, checkpoint_of, folder_text, place_of, sighting_of, sightings_in
from registry.store.tables import CheckpointRow, FileRow, MeasurementRow, VerificationRow

if TYPE_CHECKING:
    from registry.hub.outcome import DownloadReport
    from registry.shelf import Shelf

UNRECORDED: Final = "no record to hold its files against"


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

    def keep_measurements(self, measurements: Sequence[Measurement]) -> None:
        """Keep what was measured, beside all that was before."""
        running = specreg_version()
        found = [StoredMeasurement(measurement=one, specreg_version=running) for one in measurements]
        self.keep((), found)

    def replace(self, seen: Sequence[Sighting], first_seen: Mapping[tuple[str, str, str], datetime]) -> None:
        """Make these the only checkpoints. `first_seen` tells of (kind, name, folder) when that was, if known."""

        def work(session: Session) -> None:
            kept = set(see(session, seen, first_seen))
            for row in session.exec(select(CheckpointRow)).all():
                if row.id not in kept:
                    session.delete(row)

        self._write(work)

    def keep(
        self, verifications: Sequence[StoredVerification], measurements: Sequence[StoredMeasurement]
    ) -> None:
        """Put in verifications and measurements as they are, such as those read from elsewhere."""
        rows = [*map(verification_row, verifications), *map(measurement_row, measurements)]
        self._write(lambda session: session.add_all(rows))

    def try_writing(self) -> None:
        """Write nothing, as a writer would. Raises StoreError."""
        self._write(lambda session: session.connection())

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

    def measurements(self, *, latest: bool = True) -> tuple[Measurement, ...]:
        """The latest measurement of each kind, subject, setup and law, or all; those made last come first.

        Raises:
            StoreError: One cannot be read, and is named; or the store cannot be used.
        """

        def work(session: Session) -> tuple[Measurement, ...]:
            rows = measurement_rows(session, latest=latest)
            return tuple(named_measurement(row, self._database.place) for row in rows)

        return self._database.run(work) if self._has_measurements() else ()

    def counts(self) -> dict[str, int]:
        """How many checkpoints, files, verifications and measurements it holds."""
        tables: dict[str, Any] = {
            "checkpoints": CheckpointRow,
            "files": FileRow,
            "verifications": VerificationRow,
        }
        if self._has_measurements():
            tables["measurements"] = MeasurementRow
        counted = self._database.run(
            lambda session: {
                name: session.exec(select(func.count()).select_from(table)).one()
                for name, table in tables.items()
            }
        )
        return {**counted, "measurements": counted.get("measurements", 0)}

    def _has_measurements(self) -> bool:
        """Not where an older store was opened only to be read."""
        return holds_measurements(self.revision())

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
        faults=(UNRECORDED,) if report.standing == "unrecorded" else report.faults,
        folder=folder_text(folder) if folder is not None else None,
        commit=place.commit if place is not None else None,
        specreg_version=specreg_version(),
    )
