"""One checkpoint into its snapshot: everything that is missing of it, or nothing.

Processes that want the same checkpoint take turns: the first fetches, the others then find it here.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registry.errors import CheckpointError
from registry.files.folder import CheckpointFolder
from registry.hub.fetching import Fetch, Fetched, link, sync_folder, writing
from registry.hub.leftover import Leftover
from registry.hub.orders import Order, Wanted
from registry.hub.outcome import FileStatus, Meter
from registry.hub.refusals import Refusal
from registry.hub.stamps import Digests, Stamps
from registry.places import hub_cache

if TYPE_CHECKING:
    from registry.hub.client import Hub

STALE_S: Final = 86_400.0
STAGED: Final = ".specreg-"

Told = Callable[[Wanted, FileStatus], None]


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A checkpoint at one commit, and what it takes to bring it here. `files` are all that belong to it."""

    hub: Hub
    order: Order
    commit: str
    files: Sequence[Wanted]
    stamps: Stamps
    pool: Executor
    meter: Meter | None = None

    def run(self, told: Told) -> dict[str, Digests]:
        """Fetch what is not here, several files at once, and link them when all are right.

        Args:
            told: Told of every file as it is known to be right.

        Returns:
            Digests by name, of every file.

        Raises:
            HubError, CheckpointError: As for `Fetch.run`, of the first file that failed.
        """
        with self._turn():
            here = present(self.order.folder(self.commit), self.files, self.stamps)
            for file in self.files:
                if file.name in here:
                    told(file, "here")
            missing = [file for file in self.files if file.name not in here]
            left = [Leftover.of(self._staging, file.name) for file in missing]
            self._require_space(sum(map(Leftover.lacking, left, (file.size_bytes for file in missing))))
            fetched = self._fetched(missing, told)
            with writing(self.hub, self.order, ""):
                for name, one in fetched.items():
                    link(self.order.folder(self.commit) / name, one.blob, self._staging)
                sync_folder(self.order.folder(self.commit))
        return here | {name: one.digests for name, one in fetched.items()}

    def _require_space(self, size_bytes: int) -> None:
        """Say at once that the disk is too small for what has still to come, rather than when it is full."""
        cache = next(path for path in (self.order.store, *self.order.store.parents) if path.is_dir())
        free = shutil.disk_usage(cache).free
        if free < size_bytes:
            raise Refusal(
                reason="disk",
                endpoint=self.hub.endpoint,
                repo=self.order.repo or "",
                path=self.order.inside,
                problem=f"it needs {size_bytes} bytes, and {free} are free in {cache}",
            ).error()

    @property
    def _staging(self) -> Path:
        return _staging_of(self.order, self.commit)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        lock = hub_cache() / ".locks" / self.order.store.name / f"{self._staging.name.lstrip('.')}.lock"
        what = self.order.inside or "the files"
        with self.hub.alone(lock, watch=self._staging, repo=self.order.repo or "", what=what):
            try:
                yield
            finally:
                _clear(self._staging)
                _sweep(self.order.store)

    def _fetched(self, missing: Sequence[Wanted], told: Told) -> dict[str, Fetched]:
        def bring(file: Wanted) -> Fetched:
            label = f"{self.order.name}/{file.name}"
            fetched = Fetch(
                hub=self.hub,
                order=self.order,
                commit=self.commit,
                file=file,
                staging=self._staging,
                stamps=self.stamps,
                meter=None if self.meter is None else partial(self.meter, label, file.size_bytes),
            ).run()
            told(file, "fetched")
            return fetched

        futures = [self.pool.submit(bring, file) for file in missing]
        wait(futures)  # all have ended when the turn does
        return {file.name: future.result() for file, future in zip(missing, futures, strict=True)}


def present(folder: Path, files: Sequence[Wanted], stamps: Stamps) -> dict[str, Digests]:
    """Digests by name of the files that are in a folder and as they should be."""
    checkpoint = CheckpointFolder(folder)
    found: dict[str, Digests] = {}
    for file in files:
        with suppress(OSError, CheckpointError):
            digests = stamps.digests(checkpoint, file.name)
            if not file.difference(digests):
                found[file.name] = digests
    return found


def forget_staged(order: Order, commit: str) -> None:
    """Take away what a process left that died when all of a checkpoint was in place."""
    staging = _staging_of(order, commit)
    if staging.is_dir():
        shutil.rmtree(staging, ignore_errors=True)


def _staging_of(order: Order, commit: str) -> Path:
    """Where a checkpoint's files are until they are known to be right; no other tool looks there."""
    return order.store / f"{STAGED}{sha256(f'{commit}/{order.inside}'.encode()).hexdigest()[:16]}"


def _clear(staging: Path) -> None:
    """Take away what holds no bytes that a next time could go on from."""
    for folder in staging.iterdir() if staging.is_dir() else ():
        if folder.is_dir() and not Leftover(folder=folder).size_bytes:
            shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # there is something in it, or there never was
        staging.rmdir()


def _sweep(store: Path) -> None:
    """What was begun a day ago or earlier, and nobody came back for."""
    with suppress(OSError):
        for staging in store.glob(f"{STAGED}*"):
            times = [path.lstat().st_mtime for path in (staging, *staging.rglob("*"))]
            if time.time() - max(times) > STALE_S:
                shutil.rmtree(staging, ignore_errors=True)
