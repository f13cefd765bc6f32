"""The store's records as rows of its tables, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import Integer, Text, column, text
from sqlalchemy import cast as cast_column
from sqlmodel import Session, col, delete, select

from registry.store.measurement import LATEST_IDS
from registry.store.records import (
    Kind,
    Origin,
    StoredCheckpoint,
    StoredFile,
    StoredMeasurement,
    StoredVerification,
)
from registry.store.sighting import Sighting
from registry.store.tables import CheckpointRow, FileRow, MeasurementRow, VerificationRow


def verification_row(found: StoredVerification) -> VerificationRow:
    """The row that holds a verification."""
    return VerificationRow(
        kind=found.kind,
        name=found.name,
        checked_at=found.checked_at,
        ok=found.ok,
        faults=list(found.faults),
        folder=found.folder,
        commit_sha=found.commit,
        specreg_version=found.specreg_version,
    )


def measurement_row(found: StoredMeasurement) -> MeasurementRow:
    """The row that holds a measurement."""
    measurement = found.measurement
    return MeasurementRow(
        kind=measurement.kind,
        subject=measurement.subject,
        setup_key=measurement.setup.key,
        law=measurement.law,
        fingerprint=measurement.fingerprint,
        measured_at=measurement.measured_at.astimezone(UTC),
        setup=measurement.setup.model_dump(mode="json"),
        document=measurement.document,
        provenance=measurement.provenance,
        specreg_version=found.specreg_version,
    )


def measurement_rows(session: Session, *, latest: bool) -> list[dict[str, Any]]:
    """Rows as `measurement` reads them, JSON as text: so a row of bad JSON can be named. The latest come first."""
    plain = ("id", "kind", "subject", "law", "fingerprint", "measured_at")
    columns: list[Any] = [getattr(MeasurementRow, name) for name in plain]
    columns += [
        cast_column(getattr(MeasurementRow, name), Text).label(name)
        for name in ("setup", "document", "provenance")
    ]
    query = select(*columns).order_by(col(MeasurementRow.measured_at).desc(), col(MeasurementRow.id).desc())
    if latest:
        query = query.where(col(MeasurementRow.id).in_(text(LATEST_IDS).columns(column("id", Integer))))
    return [row._asdict() for row in session.connection().execute(query)]


def see(
    session: Session,
    seen: Iterable[Sighting],
    first_seen: Mapping[tuple[str, str, str], datetime] | None = None,
) -> list[int | None]:
    """Put checkpoints in, or anew where they were; the ids of their rows."""
    now = datetime.now(UTC)
    rows = []
    for one in seen:
        known = select(CheckpointRow).where(
            CheckpointRow.kind == one.kind, CheckpointRow.name == one.name, CheckpointRow.folder == one.folder
        )
        row = session.exec(known).one_or_none()
        if row is None:
            earlier = (first_seen or {}).get((one.kind, one.name, one.folder), now)
            row = CheckpointRow(
                kind=one.kind,
                name=one.name,
                source=one.source,
                folder=one.folder,
                first_seen=earlier,
                last_seen=now,
            )
        row.source, row.repo, row.commit_sha, row.last_seen = one.source, one.repo, one.commit, now
        session.add(row)
        session.flush()
        _see_files(session, row, one.files)
        rows.append(row.id)
    return rows


def _see_files(session: Session, row: CheckpointRow, files: Sequence[StoredFile]) -> None:
    known = session.exec(select(FileRow).where(FileRow.checkpoint_id == row.id)).all()
    if {_file(one) for one in known} == set(files):
        return
    session.exec(delete(FileRow).where(col(FileRow.checkpoint_id) == row.id))
    session.add_all(
        FileRow(
            checkpoint_id=cast("int", row.id), path=one.path, size_bytes=one.size_bytes, sha256=one.sha256
        )
        for one in files
    )
    session.flush()


def all_checkpoints(session: Session) -> tuple[StoredCheckpoint, ...]:
    files: dict[int, list[StoredFile]] = {}
    for file in session.exec(select(FileRow).order_by(FileRow.path)).all():
        files.setdefault(file.checkpoint_id, []).append(_file(file))
    rows = session.exec(
        select(CheckpointRow).order_by(CheckpointRow.kind, CheckpointRow.name, CheckpointRow.folder)
    ).all()
    return tuple(
        StoredCheckpoint(
            kind=cast("Kind", row.kind),
            name=row.name,
            source=cast("Origin", row.source),
            repo=row.repo,
            commit=row.commit_sha,
            folder=row.folder,
            first_seen=row.first_seen,
            last_seen=row.last_seen,
            files=tuple(files.get(row.id or 0, ())),
        )
        for row in rows
    )


def _file(row: FileRow) -> StoredFile:
    return StoredFile(path=row.path, size_bytes=row.size_bytes, sha256=row.sha256)


def verification_in(row: VerificationRow) -> StoredVerification:
    return StoredVerification(
        kind=cast("Kind", row.kind),
        name=row.name,
        checked_at=row.checked_at,
        ok=row.ok,
        faults=tuple(row.faults),
        folder=row.folder,
        commit=row.commit_sha,
        specreg_version=row.specreg_version,
    )
