"""Copies of a model's weights in the layout that a recording reads fastest, shared by all recordings of the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

Lays = Callable[..., Tensor]

SAMPLED: Final = 8  # numbers of a weight; what is merged into one changes nearly all of them


class _Copy(NamedTuple):
    """Weights, which are held since those that were let go of would lend their place to others, and their copy.

    `some` are views of a few of their numbers, `sample` what these were as they were copied.
    """

    weights: tuple[Tensor, ...]
    copy: Tensor
    some: tuple[Tensor, ...]
    sample: Tensor


class Weight(NamedTuple):
    """Where a weight lies, in which dtype, and how often it was written to, as far as torch counts that."""

    place: int
    dtype: torch.dtype
    version: int


def weights_of(model: nn.Module) -> list[Weight]:
    """A model's weights as they are now. Of inference tensors nobody counts what is written to them."""
    return [
        Weight(one.data_ptr(), one.dtype, 0 if one.is_inference() else one._version)
        for one in model.parameters()
    ]


class Copies:
    """The copies of one model's weights, each made once, whatever queries and caches are recorded."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._copies: dict[tuple[Lays | int, ...], _Copy] = {}
        self._as_copied: list[Weight] = []  # when the first copy was made

    def stale(self, now: list[Weight]) -> bool:
        """Whether a weight is another one since, by what they are now or by its numbers.

        Adapters are merged into `.data`, which torch does not count: of that a few numbers of each weight tell.
        """
        if not self._copies:
            return False
        kept = self._copies.values()
        return self._as_copied != now or not torch.equal(
            torch.cat([one.sample for one in kept]), torch.cat([part for one in kept for part in one.some])
        )

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
            self._as_copied = weights_of(self._model)
        place = (lay, *(number for one in weights for number in (one.data_ptr(), *one.shape, *one.stride())))
        if place not in self._copies:
            some = tuple(map(_some, weights))
            self._copies[place] = _Copy(weights, lay(*weights), some, torch.cat(some))
        return self._copies[place].copy

    def taken_from(self, copy: Tensor) -> tuple[Tensor, ...]:
        """The weights that something is a copy of; itself, where it is none."""
        return next((one.weights for one in self._copies.values() if one.copy is copy), (copy,))

    def let_go(self, copy: Tensor) -> None:
        """Forget a copy, if it is one."""
        self._copies = {place: one for place, one in self._copies.items() if one.copy is not copy}


def _some(weight: Tensor) -> Tensor:
    """A view of a few of its numbers, spread over all of it: of what an adapter's product changes, some."""
    flat = weight.detach()
    while flat.dim() != 1:
        flat = flat.view(-1) if flat.is_contiguous() else flat[0]
    step = len(flat) // SAMPLED | 1  # odd, so that they do not all stand in one column
    return flat[::step]
