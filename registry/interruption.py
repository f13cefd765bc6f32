"""Ctrl-C: while modules are imported, while a command runs, and once it has ended."""

import os
import signal
import sys
from contextlib import suppress

INTERRUPTED = 130
FRAGILE = ("numpy", "torch", "transformers")  # half imported, they swallow an exception, or abort
_heard: list[int] = []


def end_quietly() -> None:
    """From now on Ctrl-C ends the process at once, with one line; unless it is ignored, or another's to answer.

    Python's own answer is a traceback, out of whatever line was just running.
    """
    if signal.getsignal(signal.SIGINT) in {signal.default_int_handler, _hear}:
        signal.signal(signal.SIGINT, _end)


def hear() -> None:
    """From now on Ctrl-C is a KeyboardInterrupt again, where `end_quietly` had changed that, and `was_heard` knows."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, _hear)


def was_heard() -> bool:
    """Whether an error may come of an interruption: numpy, for one, makes an ImportError of it while it is imported."""
    return bool(_heard)


def settle() -> None:
    """Let the exit code be our own.

    A KeyboardInterrupt that has left a piece of text under `exec`, as dataclasses run them, counts as unhandled for
    the interpreter, whoever catches it later: at its end it would kill itself. The next such piece makes it forget.
    """
    exec("")  # noqa: S102 - nothing at all


def _hear(number: int, _: object) -> None:
    if any(map(_half_imported, FRAGILE)):  # nothing is under way yet
        _end()
    _heard.append(number)
    raise KeyboardInterrupt


def _half_imported(name: str) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))  # what the import machinery itself goes by


def _end(*_: object) -> None:
    with suppress(OSError):  # stderr may be closed; the exit code tells as much
        # below the ^C that a terminal shows, as click has it
        os.write(2, b"\nspecreg: Interrupted.\n")
    os._exit(INTERRUPTED)
