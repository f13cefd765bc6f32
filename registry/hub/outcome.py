"""What a download did, file by file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from registry.records import Record

FileStatus = Literal["fetched", "here", "would fetch"]
Yardstick = Literal["lock", "downloaded.lock", "hub"]
"""What bytes are held against: a catalog's lock, our own record of an earlier download, or the Hub's own digests."""


class FileOutcome(Record):
    """One file: its name in the checkpoint, and what was done, or would be."""

    path: str
    size_bytes: int
    status: FileStatus
    commit: str | None


class Outcome(Record):
    """One checkpoint. `folder` is where it is; `files` is empty where there was nothing to download.

    `checked_against` tells what the bytes are held against, nothing outside the Hub. `recorded_in` is our own
    record (downloaded.lock of SPECREG_HOME), where no catalog's lock has an entry.
    """

    kind: Literal["head", "model"]
    name: str
    source: Literal["hub", "package", "folder"]
    revision: str | None = None
    commit: str | None = None
    folder: str
    pickled: bool = False
    checked_against: Yardstick | None = None
    recorded_in: str | None = None
    files: tuple[FileOutcome, ...] = ()


class DownloadReport(Record):
    """What a download did or, when dry, would do."""

    dry_run: bool
    heads: tuple[Outcome, ...]
    models: tuple[Outcome, ...]

    @property
    def files(self) -> tuple[FileOutcome, ...]:
        """Every file of every checkpoint."""
        return tuple(file for outcome in (*self.heads, *self.models) for file in outcome.files)

    @property
    def moved_bytes(self) -> int:
        """Bytes that were fetched or would be."""
        return sum(file.size_bytes for file in self.files if file.status != "here")

    def to_json(self) -> dict[str, Any]:
        """The document of `specreg download --json`."""
        return {**self.model_dump(mode="json"), "bytes": self.moved_bytes}


Progress = Callable[[Outcome, FileOutcome], None]
"""Called when a file is done, with its checkpoint, whose `files` are still empty; by one thread at a time."""

Meter = Callable[[str, int, int], None]
"""Called as bytes come: `<checkpoint>/<file>`, its size, and how many came; by many threads."""
