"""One model of a chain and its cache, as decoding needs it: feed tokens, see rows and hidden states, roll back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Fed:
    """What a forward shows of the last n positions: logits (n, vocab) and last hidden states (n, hidden).

    They hold until the level is fed again.
    """

    logits: Tensor
    hidden: Tensor


class Level(Protocol):
    """A model with a cache.

    `length` counts the positions in the cache, `forwards` the calls of the model since `begin`, and `seconds` the
    time of the host in those calls.
    """

    name: str
    length: int
    forwards: int
    seconds: float

    def begin(self, positions: int = 0) -> None:
        """Empty the cache and the counters; the text is going to have so many positions, if that is known."""
        ...

    def feed(self, token_ids: Sequence[int] | Tensor, rows: int) -> Fed:
        """Append tokens to the cache, at least one, (n,) where they are a tensor; show the last `rows` of them."""
        ...

    def rollback(self, length: int) -> None:
        """Forget every position from `length` on; nothing where the cache is no longer than that."""
        ...
