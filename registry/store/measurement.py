"""A measurement in a row of the store, read alike by SQLModel, by the standard library, and out of a damaged file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from registry.errors import StoreError
from registry.files.strictjson import shown
from registry.planning.measurement import Measurement
from registry.planning.setup import Setup
from registry.store.faults import corrupted
from registry.store.place import StorePlace

LATEST_IDS: Final = """
SELECT id FROM (
    SELECT id, row_number() OVER (
        PARTITION BY kind, subject, setup_key, law ORDER BY measured_at DESC, id DESC
    ) AS place FROM specreg_measurement
) AS placed WHERE place = 1
"""
"""The rows that count: the latest of each kind, subject, setup and law. Of two at one moment, that kept last."""

NO_MEASUREMENT: Final = (ValueError, TypeError, KeyError, RecursionError)
"""What a row raises that holds no measurement; pydantic's own error is a ValueError."""


def measurement_of(row: Mapping[str, Any]) -> Measurement:
    """The measurement in a row: columns by name, those of JSON as text.

    Raises:
        ValueError, TypeError, KeyError, RecursionError: It holds none; `NO_MEASUREMENT` lists them.
    """
    moment = row["measured_at"]
    return Measurement(
        kind=row["kind"],
        subject=row["subject"],
        setup=Setup.model_validate_json(row["setup"]),
        law=row["law"],
        fingerprint=row["fingerprint"],
        # SQLite's text has no zone: it is UTC.
        measured_at=moment
        if isinstance(moment, datetime)
        else datetime.fromisoformat(moment).replace(tzinfo=UTC),
        document=json.loads(row["document"]),
        provenance=json.loads(row["provenance"]),
    )


def named_measurement(row: Mapping[str, Any], place: StorePlace) -> Measurement:
    """The same, of a store: what cannot be read is named. Raises StoreError."""
    try:
        return measurement_of(row)
    except NO_MEASUREMENT as error:
        detail = (
            f"the measurement {shown(row['kind'])} of {shown(row['subject'])} (row {row['id']} of "
            f"specreg_measurement) cannot be read: {_problem(error)}"
        )
        damage = corrupted(detail, place)
        sentence = f"{damage} Then `specreg measure` measures anew what is lost."
        raise StoreError(sentence, reason=damage.reason, store=damage.store) from error


def _problem(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))
        return f"{where}: {fault['msg']}" if where else str(fault["msg"])
    return (str(error).splitlines() or [type(error).__name__])[0]
