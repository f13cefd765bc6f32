"""A work folder, which only one process has at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from registry.errors import UsageError

HOLD: Final = "hold"


@contextmanager
def held(work: Path) -> Iterator[None]:
    """Have the folder to ourselves; a process that dies lets go of it.

    Raises:
        UsageError: another process has it.
    """
    if sys.platform == "win32":  # nothing there lets go of a file by itself when its process dies
        yield
        return
    import fcntl  # noqa: PLC0415 - not on every platform

    descriptor = os.open(work / HOLD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise UsageError(
            f"Another process is at work in {work}. Wait until it has ended, or give another --run."
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)
