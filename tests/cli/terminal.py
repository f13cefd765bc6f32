"""A terminal for people, within this process: what they see of a command while it runs."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def terminal() -> Iterator[Callable[[], str]]:
    """stderr is a pseudo-terminal in there; afterwards what was called says all that it was shown."""
    import pty

    master, slave = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        while piece := _read(master):
            shown.append(piece)

    reader = threading.Thread(target=read)  # a terminal that nobody reads takes no more at some point
    reader.start()
    try:
        with (
            os.fdopen(slave, "w", buffering=1) as screen,
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(sys, "stderr", screen)
            patch.setenv("TERM", "xterm")
            patch.setenv("COLUMNS", "200")
            yield lambda: b"".join(shown).decode()
    finally:
        reader.join()
        os.close(master)


def _read(master: int) -> bytes:
    try:
        return os.read(master, 4096)
    except OSError:  # Linux says so when the other end is closed
        return b""
