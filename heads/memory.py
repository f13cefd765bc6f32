"""What a chain needs of memory, told before any of it is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch

from heads.engines.captured import capacity_for
from heads.engines.choice import Engine, query_lengths
from heads.engines.merging import SMALL
from heads.engines.packing import packs
from heads.sizes import ModelSizes

UNKNOWN_LENGTH: Final = 4096  # positions assumed of a text whose length nobody says
LOGIT_COPIES: Final = 3  # a row, the law made of it, and one more while that is made
GPU_BYTES: Final = 256 << 20  # of each GPU: its kernels as they are loaded, and a workspace of its libraries
STREAM_BYTES: Final = 32 << 20  # each recording is rehearsed on a stream, where cuBLAS takes so much anew
STREAMS: Final = 32  # that torch hands out, over and over
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a chain needs for one text, and what is free where it is going to lie.

    Weights and caches are exact for models whose attention keeps keys and values; the rest is an allowance: the
    prompt is taken to be the whole text, fed at once.

    Attributes:
        models: Sizes of each, smallest first.
        heads: Name -> bytes.
        dtype: Of the models; None keeps the stored one of each.
        engine: What runs them; a cache of fixed size is rounded up.
        positions: Of the text, prompt included.
        max_draft: Tokens that a level drafts at most.
        free: Device -> bytes; the first is where all but the target lies. None: nobody says.
    """

    models: tuple[ModelSizes, ...]
    heads: Mapping[str, int]
    dtype: torch.dtype | None
    engine: Engine
    positions: int
    max_draft: int
    free: Mapping[str, int | None]

    @property
    def weights_bytes(self) -> int:
        """All models' weights."""
        return sum(map(self.weights_of, self.models))

    @property
    def heads_bytes(self) -> int:
        """All heads, in their stored dtype."""
        return sum(self.heads.values())

    @property
    def caches_bytes(self) -> int:
        """Keys and values of all models for the whole text."""
        return sum(self._room_of(model) * self._cached_of(model) for model in self.models)

    @property
    def packed_bytes(self) -> int:
        """What recordings lay out anew of the weights, at most: on a CPU all of them, fused those that are small."""
        if self.engine == "fused":
            return sum(map(self._merged_of, self.models))
        if self.engine == "eager" or self._gpu:
            return 0
        return sum(self.weights_of(model) for model in self.models if packs(self._dtype_of(model)))

    @property
    def rest_bytes(self) -> int:
        """The allowance: rows of logits, a forward over the whole text with its mask, and a GPU's workspaces."""
        rows = self.max_draft + len(self.models)
        logits = sum(LOGIT_COPIES * rows * model.vocab_size * 4 for model in self.models)
        forward = max(self._forward_of(model) for model in self.models)
        gpus = sum(name.startswith("cuda") for name in self.free)
        return logits + forward + GPU_BYTES * gpus + (self._recordings_bytes() if gpus else 0)

    @property
    def needed_bytes(self) -> int:
        """All of it."""
        return self.weights_bytes + self.packed_bytes + self.heads_bytes + self.caches_bytes + self.rest_bytes

    @property
    def beside_bytes(self) -> int:
        """All but the target's weights: what lies on the first device however the target is spread."""
        return self.needed_bytes - self.weights_of(self.models[-1])

    @property
    def free_bytes(self) -> int | None:
        """What is free on all devices together; None where one of them does not say."""
        known = [size for size in self.free.values() if size is not None]
        return sum(known) if len(known) == len(self.free) else None

    @property
    def fits(self) -> bool:
        """Whether it is free, as far as that is known."""
        free, first = self.free_bytes, next(iter(self.free.values()))
        return free is None or first is None or (self.needed_bytes <= free and self.beside_bytes <= first)

    @property
    def bound(self) -> int | None:
        """Positions beyond which some model was not made; None where none says."""
        return min((model.bound for model in self.models if model.bound is not None), default=None)

    def for_text(self, positions: int | None) -> Memory:
        """The same for a text of so many positions; None is the longest there is, or 4096 where that is less."""
        if positions is None:
            positions = UNKNOWN_LENGTH
        return replace(self, positions=positions if self.bound is None else min(positions, self.bound))

    def longest(self) -> int:
        """Positions of the longest text that fits, up to this one; 0 where none does."""
        low, high = 0, self.positions
        while low < high:
            middle = (low + high + 1) // 2
            if replace(self, positions=middle).fits:
                low = middle
            else:
                high = middle - 1
        return low

    def weights_of(self, model: ModelSizes) -> int:
        """One model's weights, in bytes."""
        return model.weights * self._dtype_of(model).itemsize + model.other_bytes

    @property
    def parts(self) -> str:
        """What the sum is made of."""
        dtypes = dict.fromkeys(str(self._dtype_of(model)).removeprefix("torch.") for model in self.models)
        packed = (
            f", {readable(self.packed_bytes)} of copies laid out for few tokens" if self.packed_bytes else ""
        )
        heads = f", {readable(self.heads_bytes)} of heads" if self.heads else ""
        return (
            f"{readable(self.weights_bytes)} of weights in {' and '.join(dtypes)}{packed}{heads}, "
            f"{readable(self.caches_bytes)} of caches for {self.positions} positions, "
            f"{readable(self.rest_bytes)} for the rest"
        )

    @property
    def told_free(self) -> str:
        """What is free, and where."""
        free = "an unknown amount" if self.free_bytes is None else readable(self.free_bytes)
        return f"{free} free on {' and '.join(self.free)}"

    @property
    def name(self) -> str:
        """Of the chain."""
        return " -> ".join(model.name for model in self.models)

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.name}: {self.parts}; {self.told_free}"

    @property
    def _gpu(self) -> bool:
        return next(iter(self.free)).startswith("cuda")

    def _dtype_of(self, model: ModelSizes) -> torch.dtype:
        return self.dtype or model.stored

    def _merged_of(self, model: ModelSizes) -> int:
        itemsize = self._dtype_of(model).itemsize
        return sum(count * itemsize for count in model.matrices if count * itemsize <= SMALL)

    def _cached_of(self, model: ModelSizes) -> int:
        return model.cached * self._dtype_of(model).itemsize

    def _room_of(self, model: ModelSizes) -> int:
        """Positions of its cache: those of the text, or the next size of a cache that is fixed."""
        if self.engine == "eager":
            return self.positions
        return capacity_for(self.positions + max(self._lengths_of(model)), fused=self.engine == "fused")

    def _lengths_of(self, model: ModelSizes) -> tuple[int, ...]:
        return query_lengths(
            gpu=self._gpu,
            top=model is self.models[-1],
            dtype=self._dtype_of(model),
            fused=self.engine == "fused",
        )

    def _recordings_bytes(self) -> int:
        """Of a GPU, what recording takes besides what is recorded."""
        if self.engine == "eager":
            return 0
        graphs = sum(len(self._lengths_of(model)) for model in self.models) + len(self.heads)
        return STREAM_BYTES * min(graphs, STREAMS)

    def _forward_of(self, model: ModelSizes) -> int:
        mask = 0 if self.engine == "eager" else self._room_of(model)
        return self.positions * (model.worked + mask) * self._dtype_of(model).itemsize


def readable(size_bytes: int) -> str:
    """Bytes for people, in powers of ten.

    >>> readable(512), readable(43_700_000), readable(22_140_000_000)
    ('512 B', '43.7 MB', '22.1 GB')
    """
    size, unit = float(size_bytes), 0
    while size >= 999.95 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.1f} {_UNITS[unit]}" if unit else f"{size_bytes} B"
