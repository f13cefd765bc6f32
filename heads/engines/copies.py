"""Copies of a model's weights in the layout that a recording reads fastest, shared by all recordings of the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

Lays = Callable[..., Tensor]


class _Copy(NamedTuple):
    """Weights, which are held since those that were let go of would lend their place to others, and their copy."""

    weights: tuple[Tensor, ...]
    copy: Tensor


class Copies:
    """The copies of one model's weights, each made once, whatever queries and caches are recorded."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._copies: dict[tuple[Lays | int, ...], _Copy] = {}
        self._as_copied: list[tuple[int, int]] = []  # the weights, when the first copy was made

    @property
    def stale(self) -> bool:
        """Whether a weight was written to or replaced since, as far as torch counts that: not by `.data` in place."""
        return bool(self._copies) and self._as_copied != self._as_they_are()

    @property
    def nbytes(self) -> int:
        """What they take, as much as the weights themselves but for what rounds sizes up."""
        return sum(weight.nbytes for one in self._copies.values() for weight in one.weights)

    def clear(self) -> None:
        """Let go of them."""
        self._copies.clear()

    def of(self, lay: Lays, *weights: Tensor) -> Tensor:
        """What a layout makes of weights, now or at an earlier time."""
        if not self._copies:
            self._as_copied = self._as_they_are()
        place = (lay, *(number for one in weights for number in (one.data_ptr(), *one.shape, *one.stride())))
        if place not in self._copies:
            self._copies[place] = _Copy(weights, lay(*weights))
        return self._copies[place].copy

    def taken_from(self, copy: Tensor) -> tuple[Tensor, ...]:
        """The weights that something is a copy of; itself, where it is none."""
        return next((one.weights for one in self._copies.values() if one.copy is copy), (copy,))

    def let_go(self, copy: Tensor) -> None:
        """Forget a copy, if it is one."""
        self._copies = {place: one for place, one in self._copies.items() if one.copy is not copy}

    def _as_they_are(self) -> list[tuple[int, int]]:
        """Where each weight lies, and how often it was written to; of inference tensors nobody counts that."""
        return [
            (one.data_ptr(), 0 if one.is_inference() else one._version) for one in self._model.parameters()
        ]
