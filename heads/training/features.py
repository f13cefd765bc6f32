"""Step two, and what step three reads of it: positions with their hidden states, on disk.

Few enough are read into memory at once. Of more, only the labels are, and hidden states are read row by row where
they lie, each file hashed once before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from torch.utils.data import Dataset

from heads.training.examples import LABELS, Examples
from heads.training.shards import Shards

IN_MEMORY_BYTES: Final = 2 << 30
LABEL_BYTES: Final = 4 * 4 + 2  # acceptance, confidence, entropy and the prompt's number; two marks
_DTYPES: Final = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def bytes_of(positions: int, hidden_size: int, dtype: torch.dtype) -> int:
    """What the features of so many positions take on disk."""
    return positions * (hidden_size * dtype.itemsize + LABEL_BYTES)


def put_examples(shards: Shards, name: str, examples: Examples, prompts: torch.Tensor) -> None:
    """Keep examples as a shard; `prompts` (n,) says which prompt each is of."""
    shards.put(
        name,
        {
            "hidden": examples.hidden,
            **{
                name: values if values.dtype == torch.bool else values.float()
                for name, values in examples.labels.items()
            },
            "prompt": prompts.int(),
        },
        rows=len(examples),
    )


def read_examples(shards: Shards, held_out: Sequence[int]) -> tuple[Positions, Positions]:
    """All positions: those to train on, and those of the prompts held out.

    Raises:
        CheckpointError: a shard is missing, or its bytes are not those that were written.
    """
    kept = torch.tensor(sorted(held_out), dtype=torch.int)
    small = shards.size_bytes <= IN_MEMORY_BYTES
    labels: list[dict[str, torch.Tensor]] = []
    places: list[_Place] = []
    for name in sorted(shards.files):
        tensors = shards.read(name)
        hidden = tensors.pop("hidden")
        labels.append(tensors)
        places.append(_InMemory(hidden) if small else _OnDisk(shards, name))
    together = {key: torch.cat([one[key] for one in labels]) for key in labels[0]}
    apart = torch.isin(together["prompt"], kept)
    starts = torch.tensor([0, *(len(one["prompt"]) for one in labels)]).cumsum(0)
    every = {name: together[name] for name in LABELS}
    return (
        Positions(places, starts, every, chosen=(~apart).nonzero().flatten()),
        Positions(places, starts, every, chosen=apart.nonzero().flatten()),
    )


class Positions(Dataset[dict[str, torch.Tensor]]):
    """Positions as the Trainer reads them, a batch at a time; `labels` are all of `Examples` but the hidden states."""

    def __init__(
        self,
        places: Sequence[_Place],
        starts: torch.Tensor,
        labels: Mapping[str, torch.Tensor],
        *,
        chosen: torch.Tensor,
    ) -> None:
        self._places, self._starts, self._chosen = places, starts, chosen
        self.labels = {name: values[chosen] for name, values in labels.items()}
        self.acceptance = self.labels["acceptance"]

    @staticmethod
    def of(examples: Examples) -> Positions:
        """Examples that are in memory already."""
        count = len(examples)
        return Positions(
            [_InMemory(examples.hidden)],
            torch.tensor([0, count]),
            examples.labels,
            chosen=torch.arange(count),
        )

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states."""
        return self._places[0].width

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """A batch; the Trainer's loader asks for all of its positions at once."""
        chosen = torch.as_tensor(indices)
        return {"hidden": self._hidden(self._chosen[chosen]), "acceptance": self.acceptance[chosen]}

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {key: value[0] for key, value in self.__getitems__([index]).items()}

    def batches(self, size: int) -> Iterator[Examples]:
        """All positions in order, as examples."""
        for chosen in torch.arange(len(self)).split(size):
            yield Examples(
                hidden=self._hidden(self._chosen[chosen]),
                **{name: values[chosen] for name, values in self.labels.items()},
            )

    def _hidden(self, rows: torch.Tensor) -> torch.Tensor:
        """(rows, hidden_size), float32."""
        found = torch.empty(len(rows), self.hidden_size)
        shard = torch.searchsorted(self._starts, rows, right=True) - 1
        for one in shard.unique().tolist():
            here = shard == one
            found[here] = self._places[one].rows(rows[here] - self._starts[one])
        return found


class _InMemory:
    """Hidden states that are in memory."""

    def __init__(self, hidden: torch.Tensor) -> None:
        self._hidden = hidden
        self.width = hidden.shape[-1]

    def rows(self, rows: torch.Tensor) -> torch.Tensor:
        return self._hidden[rows].float()


class _OnDisk:
    """Hidden states that are read where they lie, never mapped: a mapped file that shrinks kills the process."""

    def __init__(self, shards: Shards, name: str) -> None:
        header = shards.header(name)
        told = header.tensors["hidden"]
        self.width = told.shape[-1]
        self._dtype = _DTYPES[told.dtype]
        self._row_bytes = self.width * self._dtype.itemsize
        self._path: Path = shards.folder / name
        self._at = header.data_start + told.start
        self._descriptor: int | None = None

    def rows(self, rows: torch.Tensor) -> torch.Tensor:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDONLY)
        content = b"".join(
            os.pread(self._descriptor, self._row_bytes, self._at + row * self._row_bytes)
            for row in rows.tolist()
        )
        read = torch.frombuffer(bytearray(content), dtype=self._dtype)
        return read.view(len(rows), self.width).float()

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


_Place = _InMemory | _OnDisk
