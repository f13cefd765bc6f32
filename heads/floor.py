"""Who has the floor: one at a time, and nobody keeps it who was interrupted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from registry.errors import GenerationError

Done = TypeVar("Done")


class Floor:
    """What several callers share that serves one of them at a time.

    An interruption may come after any call that Python makes: after a lock was taken, and before the `try` is entered
    whose `finally` gives it back; or before the end of a context manager is begun. So the holder is somebody, not
    merely there, and who may have come to hold the floor gives it back without a call.
    """

    def __init__(self) -> None:
        self._holder: object | None = None
        self._deciding = threading.Lock()

    def alone(self, work: Callable[[], Done], *, afterwards: Callable[[], None]) -> Done:
        """Do some work, and something after it whether it was done or not.

        Raises:
            GenerationError: somebody else has the floor; nothing was done.
        """
        me = object()
        try:
            self._take(me)
            return work()
        finally:
            if self._holder is me:
                try:
                    afterwards()
                finally:  # interrupted, too: the next one begins anew
                    self._holder = None

    def _take(self, me: object) -> None:
        with self._deciding:
            if self._holder is None:
                self._holder = me
        if self._holder is not me:
            raise GenerationError(
                option="generate",
                expected="called on an idle cascade, since each of its models has one cache",
                found="one that is decoding another text",
                next_step="Wait for that, or build a second Cascade from the same models.",
            )
