"""The store's tables. A change here needs a migration: a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, BigInteger, Column, DateTime, Index, UniqueConstraint
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect


class UTCDateTime(TypeDecorator[datetime]):
    """A moment, kept in UTC. SQLite keeps it as text without a zone: `2026-01-31 09:30:00.000000`."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC. A moment without a zone is no moment: ValueError."""
        del dialect
        if value is not None and value.tzinfo is None:
            raise ValueError(f"expected a time with its zone, got {value}")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Always with its zone."""
        del dialect
        return None if value is None else value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)


class CheckpointRow(SQLModel, table=True):
    """A checkpoint seen in a folder of this machine."""

    __tablename__ = "specreg_checkpoint"
    __table_args__ = (UniqueConstraint("kind", "name", "folder", name="specreg_checkpoint_place"),)

    id: int | None = Field(default=None, primary_key=True)
    kind: str
    name: str
    source: str
    repo: str | None = None
    commit_sha: str | None = None
    folder: str
    first_seen: datetime = Field(sa_column=Column(UTCDateTime, nullable=False))
    last_seen: datetime = Field(sa_column=Column(UTCDateTime, nullable=False))


class FileRow(SQLModel, table=True):
    """One file of a checkpoint, as it was when last seen."""

    __tablename__ = "specreg_file"
    __table_args__ = (UniqueConstraint("checkpoint_id", "path", name="specreg_file_path"),)

    id: int | None = Field(default=None, primary_key=True)
    checkpoint_id: int = Field(foreign_key="specreg_checkpoint.id", ondelete="CASCADE")
    path: str
    size_bytes: int = Field(sa_column=Column(BigInteger, nullable=False))
    sha256: str | None = None


class VerificationRow(SQLModel, table=True):
    """One verification. It stands by itself: it stays when the checkpoint goes."""

    __tablename__ = "specreg_verification"
    __table_args__ = (Index("specreg_verification_latest", "kind", "name", "checked_at"),)

    id: int | None = Field(default=None, primary_key=True)
    kind: str
    name: str
    checked_at: datetime = Field(sa_column=Column(UTCDateTime, nullable=False))
    ok: bool
    faults: list[str] = Field(sa_column=Column(JSON, nullable=False))
    folder: str | None = None
    commit_sha: str | None = None
    specreg_version: str


class MeasurementRow(SQLModel, table=True):
    """One measurement. All are kept; the latest of a kind, subject, setup and law counts."""

    __tablename__ = "specreg_measurement"
    __table_args__ = (
        Index("specreg_measurement_latest", "kind", "subject", "setup_key", "law", "measured_at"),
    )

    id: int | None = Field(default=None, primary_key=True)
    kind: str
    subject: str
    setup_key: str
    law: str
    fingerprint: str
    measured_at: datetime = Field(sa_column=Column(UTCDateTime, nullable=False))
    setup: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    document: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    provenance: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    specreg_version: str
