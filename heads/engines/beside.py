"""What is recorded beside a level's own forwards, over what they show: the last few kinds of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar

KINDS_KEPT: Final = 8

Made = TypeVar("Made")


class Beside:
    """Things by their kinds; the one that was used longest ago goes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, kind: Hashable, make: Callable[[], Made]) -> Made:
        """What was made for a kind, or is made now."""
        if kind not in self._kept:
            while len(self._kept) >= KINDS_KEPT:
                self._kept.popitem(last=False)
            self._kept[kind] = make()
        self._kept.move_to_end(kind)
        found: Made = self._kept[kind]
        return found

    def clear(self) -> None:
        """Let go of all of them."""
        self._kept.clear()
