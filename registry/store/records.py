"""What the store holds, as frozen records for those who ask."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

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
    """One verification. `checked_at` is UTC, when the reading began; `faults` is empty when it was sound."""

    kind: Kind
    name: str
    checked_at: datetime
    ok: bool
    faults: tuple[str, ...]
    folder: str | None
    commit: str | None
    specreg_version: str

    def to_json(self) -> dict[str, Any]:
        """One entry of `specreg store history --json`."""
        return {
            "kind": self.kind,
            "name": self.name,
            "checked_at": self.checked_at.isoformat(),
            "ok": self.ok,
            "faults": list(self.faults),
            "folder": self.folder,
            "commit": self.commit,
            "specreg_version": self.specreg_version,
        }
