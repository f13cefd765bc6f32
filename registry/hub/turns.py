"""Turns that processes take: a file lock, and the patience to wait for it while its holder gets on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Final

from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

RECORD_LOCK_S: Final = 60.0
LOOK_S: Final = 0.5


def held(path: Path) -> AbstractContextManager[object]:
    """Hold the file lock at `path`, which other processes wait for, for as long as the context lasts."""
    return WeakFileLock(path, timeout=RECORD_LOCK_S)


def turn(
    path: Path, *, watch: Path, timeout_s: float, looking: Callable[[], None] = lambda: None
) -> AbstractContextManager[object]:
    """The file lock at `path`, entered; whoever gets it has to leave it.

    Args:
        path: The lock's file, in a folder that is there.
        watch: The folder where its holder writes; as long as that changes, we wait.
        timeout_s: How long to wait while nothing changes.
        looking: Called between two looks; may raise to end the wait.

    Raises:
        TimeoutError: The holder got nowhere for `timeout_s`.
        OSError: The lock cannot be made.
    """
    seen, since_s = _sizes(watch), time.monotonic()
    while True:
        lock = WeakFileLock(path, timeout=min(LOOK_S, timeout_s))
        with suppress(TimeoutError):
            lock.__enter__()
            return lock
        now = _sizes(watch)
        if now != seen:
            seen, since_s = now, time.monotonic()
        if time.monotonic() - since_s >= timeout_s:
            raise TimeoutError
        looking()


def _sizes(folder: Path) -> list[tuple[str, int]]:
    """Names and sizes of all files: they change as long as something comes."""
    found = []
    for inside, _, names in os.walk(folder):  # which passes over folders that go meanwhile
        for path in (Path(inside, name) for name in names):
            with suppress(OSError):
                found.append((str(path), path.stat().st_size))
    return found
