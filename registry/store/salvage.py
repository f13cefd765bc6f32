"""What can still be read out of a damaged store: a row that is whole is kept, any other is passed over."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, cast

from registry.store.measurement import NO_MEASUREMENT, measurement_of
from registry.store.place import BUSY_TIMEOUT_S
from registry.store.records import Kind, StoredMeasurement, StoredVerification
from registry.store.view import open_to_read

KINDS: Final = ("head", "model")
UNREADABLE: Final = (sqlite3.Error, UnicodeDecodeError)
"""What sqlite3 raises over a damaged file; of an error whose own text cites bad letters it raises the second."""

Row = dict[str, Any]


@dataclass
class Salvaged:
    """Verifications and measurements in their order, and when each (kind, name, folder) was first seen."""

    verifications: list[StoredVerification] = field(default_factory=list)
    measurements: list[StoredMeasurement] = field(default_factory=list)
    first_seen: dict[tuple[str, str, str], datetime] = field(default_factory=dict)


def salvage(path: Path) -> Salvaged:
    """Read what can be read of a SQLite store, however damaged; nothing at all where it is no such file."""
    saved = Salvaged()
    try:
        connection = open_to_read(path, timeout_s=BUSY_TIMEOUT_S)
    except UNREADABLE:
        return saved
    with closing(connection):
        connection.text_factory = bytes  # one bad letter would end the reading of all rows
        for row in _rows(connection, "specreg_verification"):
            try:
                saved.verifications.append(_verification(row))
            except (KeyError, ValueError, TypeError):
                continue
        for row in _rows(connection, "specreg_measurement"):
            try:
                saved.measurements.append(_measurement(row))
            except NO_MEASUREMENT:
                continue
        for row in _rows(connection, "specreg_checkpoint"):
            try:
                place = (_text(row["kind"]), _text(row["name"]), _text(row["folder"]))
                saved.first_seen[place] = _moment(row["first_seen"])
            except (KeyError, ValueError, TypeError):
                continue
    return saved


def _rows(
    connection: sqlite3.Connection,
    table: Literal["specreg_verification", "specreg_measurement", "specreg_checkpoint"],
) -> Iterator[Row]:
    """Rows by id, read from both ends: a bad page in the middle hides only itself."""
    found: dict[int, Row] = {}
    for order in ("ASC", "DESC"):
        try:
            cursor = connection.execute(f"SELECT * FROM {table} ORDER BY id {order}")  # noqa: S608
            names = [column[0] for column in cursor.description]
            for values in cursor:
                row = dict(zip(names, values, strict=True))
                found[row["id"]] = row
        except (*UNREADABLE, KeyError):
            continue
    for number in sorted(found):
        yield found[number]


def _verification(row: Row) -> StoredVerification:
    kind, faults = _text(row["kind"]), json.loads(_text(row["faults"]))
    if kind not in KINDS or row["ok"] not in (0, 1):
        raise ValueError("no such kind or outcome")
    if not isinstance(faults, list) or not all(isinstance(fault, str) for fault in faults):
        raise ValueError("no list of faults")
    return StoredVerification(
        kind=cast("Kind", kind),
        name=_text(row["name"]),
        checked_at=_moment(row["checked_at"]),
        ok=bool(row["ok"]),
        faults=tuple(faults),
        folder=None if row["folder"] is None else _text(row["folder"]),
        commit=None if row["commit_sha"] is None else _text(row["commit_sha"]),
        specreg_version=_text(row["specreg_version"]),
    )


def _measurement(row: Row) -> StoredMeasurement:
    read = {name: _text(value) for name, value in row.items() if name != "id"}
    return StoredMeasurement(measurement=measurement_of(read), specreg_version=read["specreg_version"])


def _text(value: object) -> str:
    if not isinstance(value, bytes):
        raise TypeError(f"expected text, got {type(value).__name__}")
    return value.decode("utf-8")


def _moment(value: object) -> datetime:
    return datetime.fromisoformat(_text(value)).replace(tzinfo=UTC)
