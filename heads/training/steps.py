"""The two steps before training: texts of the target, and what the source makes of them; on disk, shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar

import torch

from heads.training.examples import Examples
from heads.training.features import bytes_of, put_examples
from heads.training.labelling import Text, text_examples
from heads.training.order import Order
from heads.training.pair import Pair
from heads.training.room import megabytes, require_room
from heads.training.shards import Shards
from heads.training.texts import continuations, end_tokens_of
from heads.training.warper import uniform_numbers

SHARD_PROMPTS: Final = 64
TEXTS_AT_ONCE: Final = 16
ROW_BYTES: Final = 1 << 28  # of one model's rows at a time
Say = Callable[[str], None]
_Item = TypeVar("_Item")
Bar = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]


class Steps:
    """Texts and features of one training. `shards` are the features.

    Which prompts share a shard and a batch rests on the prompts alone, and every prompt has random numbers of its own:
    what a step leaves is the same however often it was broken off.
    """

    def __init__(
        self, pair: Pair, order: Order, prompts: Sequence[Sequence[int]], work: Path, *, say: Say, bar: Bar
    ) -> None:
        self._pair, self._order, self._prompts = pair, order, prompts
        self._say, self._bar = say, bar
        self._texts, self.shards = Shards(work / "texts"), Shards(work / "features")

    def texts(self) -> bool:
        """Step one: what the target says after every prompt. Whether there was anything left to do."""
        order = self._order
        left = [(name, group) for name, group in self._groups("texts") if not self._texts.has(name)]
        if not left:
            return False
        self._say(
            f"Step 1 of 3: {sum(len(group) for _, group in left):,} continuations of {order.target.alias}, at most "
            f"{order.max_new_tokens} tokens each."
        )
        end_tokens = end_tokens_of(self._pair.target, self._pair.tokenizer)
        with self._bar(sum(len(group) for _, group in left), "continuations") as told:
            done = 0
            for name, group in left:
                said: list[list[int]] = []
                for few in in_runs(group, order.batch_size):
                    said += continuations(
                        self._pair.target,
                        [self._prompts[prompt] for prompt in few],
                        uniform=torch.stack(
                            [uniform_numbers(order.seed, "text", one, order.max_new_tokens) for one in few]
                        ),
                        end_tokens=end_tokens,
                        warper=order.warper,
                    )
                    done += len(few)
                    told(done)
                tensors = {
                    "prompt": torch.tensor(group, dtype=torch.int),
                    "prompt_tokens": torch.tensor(
                        [len(self._prompts[one]) for one in group], dtype=torch.int
                    ),
                    "length": torch.tensor([len(text) for text in said], dtype=torch.int),
                    "tokens": torch.tensor([token for text in said for token in text], dtype=torch.int),
                }
                new = int((tensors["length"] - tensors["prompt_tokens"]).sum())
                self._texts.put(name, tensors, rows=new)
        return True

    def features(self) -> bool:
        """Step two: hidden states and labels at every new token. Whether there was anything left to do."""
        order = self._order
        left = [
            (name, text)
            for (name, _), (text, _) in zip(self._groups("features"), self._groups("texts"), strict=True)
            if not self.shards.has(name)
        ]
        if not left:
            return False
        rows = sum(self._texts.files[text]["rows"] for _, text in left)
        size = bytes_of(rows, self._pair.hidden_size, self._pair.feature_dtype)
        told = f"at most {megabytes(size)}" if order.labels == "row" else megabytes(size)
        self._say(
            f"Step 2 of 3: {order.labels} labels at {rows:,} positions by {order.source.alias} and "
            f"{order.target.alias}: {told} in {self.shards.folder}."
        )
        require_room(
            self.shards.folder,
            size,
            "The features",
            "Make room, or give fewer prompts or a lower --max-new-tokens.",
        )
        with self._bar(len(left), "features") as shown:
            for done, (name, text) in enumerate(left, start=1):
                parts, prompts = [], []
                for few in self._read_texts(text):
                    examples, owners = text_examples(
                        self._pair,
                        few,
                        new_tokens=order.max_new_tokens,
                        seed=order.seed,
                        warper=order.warper,
                        mixing_ratio=order.mixing_ratio if order.labels == "row" else None,
                    )
                    parts.append(examples)
                    prompts.append(owners)
                put_examples(self.shards, name, Examples.joined(parts), torch.cat(prompts))
                shown(done)
        return True

    @cached_property
    def _sorted(self) -> list[int]:
        """All prompts, shortest first, so that those continued together need little padding."""
        return sorted(range(len(self._prompts)), key=lambda one: (len(self._prompts[one]), one))

    def _groups(self, kind: str) -> Iterator[tuple[str, list[int]]]:
        """Name of a shard, and its prompts."""
        for number, group in enumerate(in_runs(self._sorted, SHARD_PROMPTS)):
            yield f"{kind}-{number:05d}.safetensors", list(group)

    def _read_texts(self, name: str) -> Iterator[list[Text]]:
        """The texts of a shard, as many at a time as the rows of both models leave room for."""
        told = self._texts.read(name)
        texts, at = [], 0
        for prompt, start, length in zip(
            told["prompt"].tolist(), told["prompt_tokens"].tolist(), told["length"].tolist(), strict=True
        ):
            texts.append(Text(prompt=prompt, start=start, ids=told["tokens"][at : at + length].long()))
            at += length
        row = 4 * self._pair.vocab_size * self._order.max_new_tokens
        for few in in_runs(texts, max(1, min(TEXTS_AT_ONCE, ROW_BYTES // row))):
            yield list(few)


def in_runs(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    """Successive runs of so many items; the last may be shorter."""
    for at in range(0, len(items), size):
        yield items[at : at + size]
