"""Room on a disk: asked for before much is written, and told in a sentence where it ran out."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from registry.errors import SpecregError, UsageError

KEPT: Final = "What was made before is kept: make room there, and give the same command again to go on."
SCARCE_BYTES: Final = 1 << 16  # with less than this left, a disk counts as full
_FULL: Final = "its disk is full"
_REASONS: Final = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "the quota there is used up",
    errno.EFBIG: "no file may grow so large there",
}
_ELSEWHERE: Final = "a quota or a limit on the size of files may stand in the way"
_TORCH: Final = re.compile(r"iostream error|unexpected pos|PytorchStreamWriter|file write failed")
_RUST: Final = re.compile(r"\(os error ([0-9]+)\)")  # how safetensors tells the system's number


@contextmanager
def room_told(folder: Path, what: str, *, needed_bytes: int | None = None) -> Iterator[None]:
    """Say that the disk was full where that is what an error comes from, whatever a library wrapped it in.

    Args:
        folder: Where something is written; it need not be there yet.
        what: What is written, for people.
        needed_bytes: How large it is, where that is known.

    Raises:
        UsageError: there was no room. Every other error stays as it is.
    """
    try:
        yield
    except SpecregError:
        raise
    except Exception as error:
        free = free_bytes(folder)
        reason = _reason(error, scarce=free < max(needed_bytes or 0, SCARCE_BYTES))
        if reason is None:
            raise
        advice = KEPT if reason == _FULL else KEPT.replace("make room there", "have that limit raised")
        needed = "" if needed_bytes is None else f" {megabytes(needed_bytes)} are needed,"
        raise UsageError(
            f"{what} could not be written to {folder}: {reason};{needed} {megabytes(free)} are left. {advice}"
        ) from error


def require_room(folder: Path, size_bytes: int, what: str, advice: str) -> None:
    """Refuse what will not fit before it is begun.

    Raises:
        UsageError: fewer bytes are left there.
    """
    free = free_bytes(folder)
    if size_bytes > free:
        raise UsageError(
            f"{what} need {megabytes(size_bytes)}, {folder} has {megabytes(free)} left. {advice}"
        )


def free_bytes(folder: Path) -> int:
    """What the disk has left under a folder that may not be there yet."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def megabytes(size_bytes: int) -> str:
    """A size for people.

    >>> megabytes(4_100), megabytes(1_500_000), megabytes(2_340_000_000)
    ('4.1 kB', '1.5 MB', '2.34 GB')
    """
    if size_bytes >= 1e9:
        return f"{size_bytes / 1e9:.2f} GB"
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.1f} kB"


def _reason(error: BaseException, *, scarce: bool) -> str | None:
    """Why there was no room; None where that is not what the error, or one behind it, is about.

    torch's writer of archives tells no number of the system: only the disk itself says whether it is full.
    """
    behind: BaseException | None = error
    by_torch = False
    while behind is not None:
        told = _RUST.search(str(behind))
        number = behind.errno if isinstance(behind, OSError) else int(told[1]) if told else None
        if number in _REASONS:
            return _REASONS[number]
        by_torch = by_torch or (isinstance(behind, RuntimeError) and bool(_TORCH.search(str(behind))))
        behind = behind.__cause__ or behind.__context__
    if not by_torch:
        return None
    return _FULL if scarce else _ELSEWHERE
