"""What the store holds, as frozen records for those who ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from registry.planning.measurement import Kind as MeasurementKind
from registry.planning.measurement import Measurement
from registry.planning.setup import Setup

Kind = Literal["head", "model"]
Origin = Literal["hub", "package", "folder"]


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """One file of a checkpoint. `sha256` is the digest its record states; None where it has none."""

    path: str
    size_bytes: int
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class StoredCheckpoint:
    """A checkpoint in one folder of this machine. Times are UTC; `commit` is None outside the Hub."""

    kind: Kind
    name: str
    source: Origin
    repo: str | None
    commit: str | None
    folder: str
    first_seen: datetime
    last_seen: datetime
    files: tuple[StoredFile, ...]


@dataclass(frozen=True, kw_only=True)
class StoredVerification:
    """One verification. `checked_at` is UTC, when the reading began.

    `faults` is empty when it was sound. Where nothing is at fault and there was no record to hold the files against, it
    says that, and nothing else.
    """

    kind: Kind
    name: str
    checked_at: datetime
    ok: bool
    faults: tuple[str, ...]
    folder: str | None
    commit: str | None
    specreg_version: str

    @property
    def recorded(self) -> bool:
        """Whether there was a record to hold the files against."""
        return not (self.ok and self.faults)

    def to_json(self) -> dict[str, Any]:
        """One entry of `specreg store history --json`."""
        return {
            "kind": self.kind,
            "name": self.name,
            "checked_at": self.checked_at.isoformat(),
            "ok": self.ok,
            "recorded": self.recorded,
            "faults": list(self.faults),
            "folder": self.folder,
            "commit": self.commit,
            "specreg_version": self.specreg_version,
        }


@dataclass(frozen=True, kw_only=True)
class StoredMeasurement:
    """A measurement, and the specreg that kept it."""

    measurement: Measurement
    specreg_version: str


@dataclass(frozen=True, kw_only=True)
class MeasuredSetup:
    """How many measurements of each kind count on a setup, and when the latest of them was made (UTC)."""

    setup: Setup
    kinds: dict[MeasurementKind, int]
    latest: datetime

    def __str__(self) -> str:
        """For people: `3 forwards, 2 rounds`."""
        return ", ".join(f"{count} {kind}" for kind, count in self.kinds.items())

    def to_json(self) -> dict[str, Any]:
        """One entry of `setups` in `specreg store show --json`."""
        return {
            "setup": self.setup.model_dump(),
            "kinds": dict(self.kinds),
            "latest": self.latest.isoformat(),
        }


def measured_setups(measurements: Iterable[Measurement]) -> tuple[MeasuredSetup, ...]:
    """What they say of each setup, in the order of its name."""
    found: dict[str, list[Measurement]] = {}
    for one in measurements:
        found.setdefault(one.setup.key, []).append(one)
    return tuple(_measured_setup(found[key]) for key in sorted(found))


def _measured_setup(measurements: list[Measurement]) -> MeasuredSetup:
    counts = Counter(one.kind for one in measurements)
    return MeasuredSetup(
        setup=measurements[0].setup,
        kinds={kind: counts[kind] for kind in get_args(MeasurementKind) if counts[kind]},
        latest=max(one.measured_at for one in measurements).astimezone(UTC),
    )
