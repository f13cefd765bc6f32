"""The beginning of a file whose transfer broke off: only the rest has to come, and only the rest needs room.

It grows where it lies. Bytes are only ever added at its end, so that whoever dies leaves a beginning of what was
coming, or, after a power cut, bytes that the hash of the whole finds out. It bears no name that a cache knows.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

NAME: Final = "leftover"


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """What is here of one file. `folder` is this file's own, and used by one process at a time."""

    folder: Path

    @classmethod
    def of(cls, staging: Path, name: str) -> Leftover:
        """That of a checkpoint's file, within the checkpoint's own folder for what is not yet known to be right."""
        return cls(folder=staging / hashlib.sha256(name.encode()).hexdigest()[:8])

    @property
    def path(self) -> Path:
        """Where the bytes are, or would be."""
        return self.folder / NAME

    @property
    def size_bytes(self) -> int:
        """How many bytes are here; none where there is no file."""
        return self.path.stat().st_size if self.path.is_file() and not self.path.is_symlink() else 0

    def lacking(self, size_bytes: int) -> int:
        """How many bytes have to come of a file of that size; all of them where more is here than that."""
        here = self.size_bytes
        return size_bytes - here if here <= size_bytes else size_bytes

    def opened(self, size_bytes: int | None) -> BinaryIO:
        """The file, to be added to. What is longer than the whole is no beginning of it, and begun anew.

        Args:
            size_bytes: How long the whole is; None where nobody knows.

        Raises:
            OSError: It cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.path.is_symlink() or (size_bytes is not None and self.size_bytes > size_bytes):
            self.path.unlink()
        return self.path.open("ab")

    def forget(self) -> None:
        """Take it away, as far as that goes."""
        shutil.rmtree(self.folder, ignore_errors=True)
