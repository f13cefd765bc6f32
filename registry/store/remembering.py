"""Commands remember what they did, and never fail for it: files are the truth, the store only tells of them.

Importing this loads no database library.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.errors import StoreError
from registry.records import Head, Model
from registry.shelf import Shelf
from registry.store.sighting import folder_text
from registry.store.view import known_checkpoints

if TYPE_CHECKING:
    from registry.hub.outcome import DownloadReport
    from registry.planning.measurement import Measurement
    from registry.report import HeadReport, ModelReport


class WatchedShelf(Shelf):
    """A shelf that keeps every report it made, each with the moment its reading began, in their order."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.readings: list[tuple[datetime, HeadReport | ModelReport]] = []

    def verify_head(self, head: Head) -> HeadReport:
        """As `Shelf` does it."""
        began = datetime.now(UTC)
        report = super().verify_head(head)
        self.readings.append((began, report))
        return report

    def verify_model(self, model: Model) -> ModelReport:
        """As `Shelf` does it."""
        began = datetime.now(UTC)
        report = super().verify_model(model)
        self.readings.append((began, report))
        return report


def note_download(report: DownloadReport, shelf: Shelf) -> str | None:
    """Remember what a download left here.

    A download that fetched nothing new, of checkpoints that the store knows, is not written again: so the second
    download of everything loads no database library. (On PostgreSQL it does.)

    Args:
        report: What was downloaded.
        shelf: The shelf it was downloaded to, reloaded since.

    Returns:
        The sentence to warn with, where it could not be remembered; else None.
    """
    outcomes = (*report.heads, *report.models)
    if report.dry_run or not outcomes:
        return None
    if all(file.status == "here" for file in report.files):
        here = {(one.kind, one.name, folder_text(Path(one.folder)), one.commit) for one in outcomes}
        if here <= known_checkpoints():
            return None
    from registry.store.store import Store  # noqa: PLC0415 - half a second that most commands do without

    try:
        with Store.open() as store:
            store.remember_download(report, shelf)
    except StoreError as error:
        return f"{error} The download itself is whole; only the store does not know of it."
    return None


def note_verification(
    reports: Sequence[HeadReport | ModelReport], shelf: Shelf, *, checked_at: datetime
) -> str | None:
    """Keep what a verification found.

    Args:
        reports: What it found.
        shelf: The shelf whose checkpoints it read.
        checked_at: When the reading began: what changes after it counts as not verified.

    Returns:
        The sentence to warn with, where it could not be kept; else None.
    """
    if not reports:
        return None
    from registry.store.store import Store  # noqa: PLC0415 - as above

    try:
        with Store.open() as store:
            store.remember_verification(reports, shelf, checked_at=checked_at)
    except StoreError as error:
        return f"{error} The verification itself stands; only the store does not know of it."
    return None


def note_readings(shelf: WatchedShelf) -> str | None:
    """Keep every report that a shelf made, each with its own moment; gives what `note_verification` does."""
    for began, report in shelf.readings:
        warning = note_verification([report], shelf, checked_at=began)
        if warning is not None:
            return warning
    return None


def try_store() -> StoreError | None:
    """Why nothing can be put into the store now, if nothing can. It is made where there is none."""
    from registry.store.store import Store  # noqa: PLC0415 - as above

    try:
        with Store.open() as store:
            store.try_writing()
    except StoreError as error:
        return error
    return None


def note_measurements(measurements: Sequence[Measurement]) -> str | None:
    """Keep what was measured.

    Args:
        measurements: What was measured, all of it or nothing.

    Returns:
        The sentence to warn with, where it could not be kept; else None.
    """
    if not measurements:
        return None
    from registry.store.store import Store  # noqa: PLC0415 - as above

    try:
        with Store.open() as store:
            store.keep_measurements(measurements)
    except StoreError as error:
        return (
            f"{error} What was measured stands; only the store does not know of it, and no plan will use it."
        )
    return None
