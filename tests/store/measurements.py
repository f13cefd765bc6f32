"""Measurements that can be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from registry.planning.measurement import Kind, Measurement
from registry.planning.setup import Setup

CPU = Setup(host="here", device="cpu", processor="a CPU", threads=2, dtype="float32", engine="eager")
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def measured(
    found: float = 1.0,
    *,
    kind: Kind = "forwards",
    subject: str = "pico-target",
    setup: Setup = CPU,
    law: str = "",
    at: datetime = NOON,
) -> Measurement:
    """A measurement that found this number."""
    return Measurement(
        kind=kind,
        subject=subject,
        setup=setup,
        law=law,
        fingerprint="f" * 64,
        measured_at=at,
        document={"found": found, "times": [[1, 0.1], [2, 1 / 3]], "text": "naïve ✓"},
        provenance={"commit": None, "repeats": 3},
    )


def found_in(measurements: Sequence[Measurement]) -> list[Any]:
    """The numbers they found, in their order."""
    return [one.document["found"] for one in measurements]
