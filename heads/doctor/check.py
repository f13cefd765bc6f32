"""One thing that was looked at: what was found, and where it is off, why and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["ok", "warning", "fault", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of an examination.

    `check` says what was asked, `subject` of what. `cause` and `next`, the likely cause and a command, are there where
    something is off.
    """

    check: str
    subject: str
    status: Status
    found: str
    expected: str | None = None
    cause: str | None = None
    next: str | None = None

    def to_json(self) -> dict[str, Any]:
        """One entry of "checks"."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Examination:
    """All that was looked at. `device` is None where nothing could be loaded."""

    models: tuple[str, ...]
    device: str | None
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no fault; warnings, and what could not be told, are none."""
        return not self.of("fault")

    def of(self, *statuses: Status) -> Sequence[Check]:
        """The checks that came out so."""
        return [one for one in self.checks if one.status in statuses]

    def to_json(self) -> dict[str, Any]:
        """The document of `specreg doctor --json`."""
        return {
            "ok": self.ok,
            "models": list(self.models),
            "checks": [one.to_json() for one in self.checks],
            "device": self.device,
        }
