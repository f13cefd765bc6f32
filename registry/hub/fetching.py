"""One file into the Hub's cache: brought beside it, hashed there, and put in place only if it is right.

Nothing that is wrong ever bears a name that other tools look at: bytes come into a folder of their own within
the repository's part of the cache, and what was hashed there is synced to disk and renamed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import CheckpointError, HubError
from registry.files.folder import CheckpointFolder
from registry.hub.leftover import Leftover
from registry.hub.orders import Order, Wanted
from registry.hub.refusals import Refusal
from registry.hub.stamps import Digests, Stamps

if TYPE_CHECKING:
    from registry.hub.client import Hub

PAUSES_S: tuple[float, ...] = (1.0, 4.0)


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A file that is right: its bytes in the cache, and their digests."""

    blob: Path
    digests: Digests


@dataclass(frozen=True, kw_only=True)
class Fetch:
    """One file of a checkpoint that is to be fetched.

    `staging` is the checkpoint's own folder for what is not yet known to be right, held by nobody else.
    """

    hub: Hub
    order: Order
    commit: str
    file: Wanted
    staging: Path
    stamps: Stamps
    meter: Callable[[int], None] | None = None

    def run(self) -> Fetched:
        """Bring it, unless the cache holds its bytes already; once more, where what came was wrong.

        Raises:
            HubError: It could not be fetched or written. What came of it is kept for the next time.
            CheckpointError: It is not what its record or the Hub's listing says; nothing of it is kept.
        """
        etag = self.hub.etag_of(self.order.repo or "", self.commit, self._path)
        blob = self.order.store / "blobs" / etag
        here = self._digests(blob)
        if here is not None and not self.file.difference(here):
            self._leftover.forget()
            return Fetched(blob=blob, digests=here)
        if here is not None and etag in (here.sha256, here.git_sha1):
            raise self._differs(f"it bears the ETag of other bytes, {self.file.difference(here)}")
        problem = ""
        for _ in range(2):
            staged = self._staged()
            before, found = self.stamps.hashed(CheckpointFolder(staged.parent), staged.name)
            problem = self.file.difference(found)
            if not problem:
                self._put(staged, blob)
                self.stamps.moved(before, blob, found)
                return Fetched(blob=blob, digests=found)
            self._leftover.forget()
            if self.meter is not None:
                self.meter(-found.size_bytes)
        raise self._differs(problem)

    @property
    def _path(self) -> str:
        return self.order.path(self.file.name)

    @property
    def _leftover(self) -> Leftover:
        return Leftover.of(self.staging, self.file.name)

    def _staged(self) -> Path:
        """The file's bytes beside the cache; a transfer that broke off is gone on with, some times."""
        for tries, pause_s in enumerate((*PAUSES_S, None)):
            try:
                return self.hub.stage(
                    self.order.repo or "",
                    self.commit,
                    self._path,
                    leftover=self._leftover,
                    again=tries > 0,
                    meter=self.meter,
                )
            except HubError as error:
                if error.reason != "broken" or pause_s is None:
                    raise
            self.hub.pause(pause_s)
        raise AssertionError("the last round returns or raises")

    def _put(self, staged: Path, blob: Path) -> None:
        with writing(self.hub, self.order, self.file.name):
            blob.parent.mkdir(parents=True, exist_ok=True)
            with staged.open("rb+") as stream:
                os.fsync(stream.fileno())
            staged.replace(blob)
            sync_folder(blob.parent)
        self._leftover.forget()

    def _digests(self, blob: Path) -> Digests | None:
        try:
            return self.stamps.digests(CheckpointFolder(blob.parent), blob.name)
        except (OSError, CheckpointError):
            return None

    def _differs(self, problem: str) -> CheckpointError:
        recorded = self.order.entry is not None
        against = "its record" if recorded else "the Hub's own listing"
        report = "the record" if recorded else f"it to the owners of {self.order.repo}"
        return CheckpointError(
            f"{self.file.name} of {self.order.name} differs from {against}: {problem}. "
            f"It was not installed. Download it again, or report {report} if this repeats.",
            path=str(self.order.folder(self.commit) / self.file.name),
            problems=[problem],
        )


def link(pointer: Path, blob: Path, staging: Path) -> None:
    """Let a snapshot's file lead to its bytes, as the client does: a relative link, put in place at once.

    Raises:
        OSError: It cannot be written.
    """
    pointer.parent.mkdir(parents=True, exist_ok=True)
    staging.mkdir(parents=True, exist_ok=True)
    beside = staging / f"link-{hashlib.sha256(os.fsencode(pointer)).hexdigest()[:8]}"
    beside.unlink(missing_ok=True)
    try:
        beside.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:  # a system that makes no links for everyone
        shutil.copyfile(blob, beside)
    beside.replace(pointer)


@contextmanager
def writing(hub: Hub, order: Order, what: str) -> Iterator[None]:
    """Say of a disk that does not take it what it says."""
    try:
        yield
    except OSError as error:
        problem = error.strerror or str(error)
        raise Refusal(
            reason="disk",
            endpoint=hub.endpoint,
            repo=order.repo or "",
            path=order.path(what),
            problem=problem,
        ).error() from error


def sync_folder(folder: Path) -> None:
    """Let the names in a folder outlive a power cut, where the system can."""
    with suppress(OSError, AttributeError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
