"""The family's tokenizer, and the corpus as token windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCAB_SIZE = 2048
END_TOKEN = "<|endoftext|>"  # noqa: S105 - a token of text, no password
Ids = npt.NDArray[np.uint16]


def train_tokenizer(documents: Sequence[str], folder: Path) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of 2,048 tokens on the documents and store it in `folder`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[END_TOKEN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_TOKEN,
        pad_token=END_TOKEN,
        clean_up_tokenization_spaces=False,
    )
    fast.save_pretrained(folder)
    return fast


def encode(documents: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> Ids:
    """All documents in one row of token ids, an end token after each."""
    backend = tokenizer.backend_tokenizer
    end = backend.token_to_id(END_TOKEN)
    rows = [[*encoding.ids, end] for encoding in backend.encode_batch(list(documents))]
    return np.concatenate([np.asarray(row, dtype=np.uint16) for row in rows])


class Windows:
    """Random windows of two token rows, mixed in a given share; every window once before any twice."""

    def __init__(self, library: Ids, others: Ids, *, length: int, seed: int) -> None:
        self._rows = (library, others)
        self._length = length
        self._random = np.random.default_rng(seed)
        self._queues: list[list[int]] = [[], []]

    def batch(self, size: int, *, library_share: float) -> torch.Tensor:
        """(size, length + 1) token ids, int64."""
        picks = [self._next(0 if self._random.random() < library_share else 1) for _ in range(size)]
        return torch.from_numpy(np.stack(picks).astype(np.int64))

    def _next(self, which: int) -> Ids:
        queue, row = self._queues[which], self._rows[which]
        if not queue:
            offset = int(self._random.integers(self._length))
            starts = np.arange(offset, len(row) - self._length - 1, self._length)
            self._random.shuffle(starts)
            queue.extend(int(start) for start in starts)
        start = queue.pop()
        return row[start : start + self._length + 1]


def held_out_windows(row: Ids, *, length: int, limit: int) -> Iterator[torch.Tensor]:
    """Successive (1, length + 1) windows of held-out ids, `limit` of them spread evenly over the row."""
    starts = range(0, len(row) - length - 1, length)
    step = max(1, len(starts) // limit)
    for start in list(starts)[::step][:limit]:
        yield torch.from_numpy(row[start : start + length + 1].astype(np.int64))[None]
