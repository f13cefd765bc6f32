"""A file put in place whole or not at all, whoever dies while it is written."""

from __future__ import annotations

import os
import secrets
import stat
import time
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Final

STALE_S: Final = 3600.0


def put_whole(content: bytes, path: Path) -> None:
    """Write a file beside `path`, sync it to disk, then rename it: readers see the old bytes or the new.

    A link is followed to the file it names, and a file that was there keeps its permissions. Leftovers of
    writers that died an hour ago or earlier are removed.

    Raises:
        OSError: the folder cannot be written to.
    """
    target = Path(os.path.realpath(path))
    _sweep(target)
    beside = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with beside.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileNotFoundError):
            beside.chmod(stat.S_IMODE(target.stat().st_mode))
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def _sweep(target: Path) -> None:
    for leftover in target.parent.glob(f".{escape(target.name)}.*.tmp"):
        try:
            if time.time() - leftover.stat().st_mtime > STALE_S:
                leftover.unlink()
        except OSError:  # another writer's, or already gone
            continue


def sync_folder(folder: Path) -> None:
    """Have the disk keep what was renamed in this folder."""
    if os.name == "nt":  # folders cannot be opened there; the rename is already durable enough
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
