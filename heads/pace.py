"""When the next step of a draft is launched: before the last one's answer is known, or after it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from statistics import median
from typing import Final

TRIED: Final = 16  # steps timed of each way before one is preferred
KEPT: Final = 64  # steps and drafts remembered, the latest
AGAIN: Final = 64  # one draft of so many is made the other way, in case that has become the quicker one


class Late:
    """Always after it: where the host is slower than its device nothing is gained by launching early."""

    def begin(self) -> bool:
        """A draft begins; whether its steps are to be launched early."""
        return False

    def answered(self) -> None:
        """The host has read a step's answer."""

    def end(self, steps: int, *, stopped: bool) -> None:
        """The draft has so many steps that were not in vain, and was stopped before its longest or not."""


class Quicker(Late):
    """Of two ways to draft the quicker one, by what both took so far.

    Launched early, steps follow one another on their device without a gap; but a draft that is stopped has one step
    in vain. Launched late, none is; but the device has nothing to do while the host reads the answer and launches.
    Which costs more hangs on both machines, on the model, and on how often drafts are stopped.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._took: dict[bool, deque[float]] = {way: deque(maxlen=KEPT) for way in (True, False)}
        self._drafts: deque[tuple[int, bool]] = deque(maxlen=KEPT)
        self._begun = 0
        self._early = True
        self._answered: float | None = None

    def begin(self) -> bool:
        """See `Late`."""
        self._begun += 1
        self._answered = None
        fewest = min(self._took, key=lambda way: len(self._took[way]))
        if len(self._took[fewest]) < TRIED:
            self._early = fewest
        else:
            self._early = self.quicker_early() is not (self._begun % AGAIN == 0)
        return self._early

    def answered(self) -> None:
        """See `Late`. From one answer to the next of a draft is what a step takes."""
        now = self._clock()
        if self._answered is not None:
            self._took[self._early].append(now - self._answered)
        self._answered = now

    def end(self, steps: int, *, stopped: bool) -> None:
        """See `Late`."""
        self._drafts.append((steps, stopped))

    def quicker_early(self) -> bool:
        """Whether drafts like the latest ones take less time launched early, steps in vain included."""
        steps = sum(count for count, _ in self._drafts)
        in_vain = sum(stopped for _, stopped in self._drafts)
        early, late = (median(self._took[way]) for way in (True, False))
        return (steps + in_vain) * early <= steps * late
