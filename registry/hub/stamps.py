"""Digests of files that a download has hashed, good for as long as inode, size and times stay.

They make a second `specreg download` quick, and serve nothing else: what is verified, repaired or loaded is
always hashed. A disk that changes bytes behind the file system's back goes unseen here, and is found there.
One small file for each file that was hashed, under SPECREG_HOME; losing them costs time only.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from registry.files.folder import CHUNK_BYTES, CheckpointFolder
from registry.files.wholefile import put_whole

SETTLED_NS: Final = (
    20_000_000  # times are counted in steps of some milliseconds: a change within one is unseen
)


@dataclass(frozen=True, kw_only=True)
class Digests:
    """What a file's bytes are. `git_sha1` is that of git's blob: a header with the size, then the bytes."""

    size_bytes: int
    sha256: str
    git_sha1: str


class Stamps:
    """The digests known of files on this machine.

    Args:
        folder: Where they are kept; it need not be there yet.
        keep: Whether new ones are written.
        trust: Whether those that are there are believed.
    """

    def __init__(self, folder: Path, *, keep: bool = True, trust: bool = True) -> None:
        self._folder = folder
        self._keep = keep
        self._trust = trust

    def digests(self, checkpoint: CheckpointFolder, name: str) -> Digests:
        """Digests of one file of a checkpoint, hashed only if it is not as it was the last time.

        Raises:
            OSError: It is not there or cannot be read.
            CheckpointError: It is no regular file inside its folder.
        """
        real = Path(os.path.realpath(checkpoint.path / name))
        with checkpoint.open(name):  # for its refusals
            known = self._known(real, _stamp(real))
        if known is not None:
            return known
        stamp, found = self.hashed(checkpoint, name)
        if stamp == _stamp(real):
            self._write(real, stamp, found)
        return found

    def hashed(self, checkpoint: CheckpointFolder, name: str) -> tuple[list[int], Digests]:
        """Hash one file, whatever is known of it; what it looked like before, and its digests.

        Raises:
            OSError, CheckpointError: As for `digests`.
        """
        stamp = _settled_stamp(Path(os.path.realpath(checkpoint.path / name)))
        with checkpoint.open(name) as file:
            git = hashlib.sha1(f"blob {file.size_bytes}\0".encode(), usedforsecurity=False)
            while chunk := file.take(CHUNK_BYTES):
                git.update(chunk)
            return stamp, Digests(size_bytes=file.size_bytes, sha256=file.sha256(), git_sha1=git.hexdigest())

    def moved(self, before: list[int], real: Path, digests: Digests) -> None:
        """A file that was hashed when it looked as `before` has been renamed to `real`."""
        with suppress(OSError):
            real = Path(os.path.realpath(real))
            stamp = _stamp(real)
            if stamp[:4] == before[:4]:  # renaming counts as a change of its own, the last of the five
                self._write(real, stamp, digests)

    def _known(self, real: Path, stamp: list[int]) -> Digests | None:
        if not self._trust:
            return None
        try:
            content = json.loads(self._file(real).read_bytes())
            if content["path"] == str(real) and content["stamp"] == stamp:
                digests = Digests(**content["digests"])
                return digests if digests.size_bytes == stamp[2] else None
        except (OSError, ValueError, KeyError, TypeError):  # not written by us, or not whole
            return None
        return None

    def _write(self, real: Path, stamp: list[int], digests: Digests) -> None:
        if not self._keep:
            return
        content = {"path": str(real), "stamp": stamp, "digests": vars(digests)}
        with suppress(OSError):  # then the file is hashed again the next time
            self._folder.mkdir(parents=True, exist_ok=True)
            put_whole(json.dumps(content).encode(), self._file(real))

    def _file(self, real: Path) -> Path:
        return self._folder / f"{hashlib.sha256(os.fsencode(real)).hexdigest()[:32]}.json"


def _stamp(real: Path) -> list[int]:
    status = real.stat()
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _settled_stamp(real: Path) -> list[int]:
    """The stamp of a file that did not change just now."""
    stamp = _stamp(real)
    young_ns = stamp[4] + SETTLED_NS - time.time_ns()
    if 0 < young_ns <= SETTLED_NS:
        time.sleep(young_ns / 1e9)
        stamp = _stamp(real)
    return stamp
