"""Two models between which a head leads: what their files say, and they themselves once they are needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from heads.models import load_registered_model, load_registered_tokenizer, require_loadable
from heads.prompt import prompt_ids
from heads.runtime import device_named, dtype_named, no_bars
from registry.errors import CheckpointError, IncompatibleError, UsageError
from registry.files.filenames import CONFIG
from registry.headsight import Ends, judge_ids
from registry.records import Head, Model
from registry.verify import read_verified

if TYPE_CHECKING:
    from registry.shelf import Shelf

NARROWEST: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Pair:
    """Source and target of a head, on this machine and recorded.

    Args:
        shelf: Where they are, and their records.
        source, target: The catalog's entries.
        device, dtype: As for decoding.

    Raises:
        NotInstalledError: one is not here.
        CheckpointError: one has no record, or its config.json is not what the record says.
        IncompatibleError: an id does not mean the same to both.
    """

    def __init__(
        self,
        shelf: Shelf,
        source: Model,
        target: Model,
        *,
        device: str | None = None,
        dtype: str | None = None,
    ) -> None:
        self._shelf, self._ends = shelf, (source, target)
        self.device = device_named(device)
        self._dtype = dtype_named(dtype, self.device)
        require_loadable(shelf, [source, target])
        self._configs = [self._config(model) for model in self._ends]
        _require_one_vocabulary(shelf, source, target)

    @property
    def hidden_size(self) -> int:
        """Width of the source's last hidden state."""
        return _count(self._configs[0], self._ends[0], "hidden_size", "n_embd", "d_model")

    @property
    def vocab_size(self) -> int:
        """Ids that both models know."""
        every = zip(self._configs, self._ends, strict=True)
        return min(_count(config, model, "vocab_size") for config, model in every)

    @property
    def positions(self) -> int | None:
        """Positions that both models were made for, where their configs set a bound."""
        names = ("max_position_embeddings", "n_positions")
        bounds = [
            config[name] for config in self._configs for name in names if isinstance(config.get(name), int)
        ]
        return min(bounds, default=None)

    @property
    def feature_dtype(self) -> torch.dtype:
        """What the source's hidden states come in."""
        if isinstance(self._dtype, torch.dtype):
            return self._dtype
        told = self._configs[0].get("dtype") or self._configs[0].get("torch_dtype")
        return NARROWEST.get(str(told), torch.float32)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The target's."""
        return load_registered_tokenizer(self._shelf, self._ends[1])

    @cached_property
    def source(self) -> PreTrainedModel:
        """The smaller model, loaded at the first need."""
        return self._loaded(self._ends[0])

    @cached_property
    def target(self) -> PreTrainedModel:
        """The model that accepts or rejects, loaded at the first need."""
        return self._loaded(self._ends[1])

    def encoded(self, prompts: Sequence[str], *, chat: bool, new_tokens: int) -> list[list[int]]:
        """Token ids of the prompts that leave room for so many new tokens.

        Raises:
            UsageError: none does.
        """
        every = [self._ids(prompt, chat=chat) for prompt in prompts]
        room = None if self.positions is None else self.positions - new_tokens
        fitting = [ids for ids in every if room is None or len(ids) <= room]
        if not fitting:
            raise UsageError(
                f"No prompt fits: expected at most {room} tokens, since the models were made for {self.positions} "
                f"positions and {new_tokens} are to follow, got {min(map(len, every), default=0)} or more. Shorten "
                "them, or lower --max-new-tokens."
            )
        return fitting

    def _ids(self, prompt: str, *, chat: bool) -> list[int]:
        begun: Any = [{"role": "user", "content": prompt}] if chat else prompt
        return prompt_ids(begun, self.tokenizer, vocab_size=self.vocab_size)

    def _config(self, model: Model) -> dict[str, Any]:
        folder = self._shelf.model_place(model).installed(model.alias)
        entry = self._shelf.lock.models.get(model.alias)
        told = json.loads(read_verified(folder, entry, (CONFIG,), subject=model.alias)[CONFIG])
        nested = told.get("text_config")
        return {**told, **nested} if isinstance(nested, dict) else told

    def _loaded(self, model: Model) -> PreTrainedModel:
        with no_bars():
            return load_registered_model(self._shelf, model, device=self.device, dtype=self._dtype)


def _count(config: dict[str, Any], model: Model, *names: str) -> int:
    """A size by the first of several names that families have for it."""
    found = next((config[name] for name in names if isinstance(config.get(name), int)), None)
    if found is None:
        raise CheckpointError(
            f"{CONFIG} of {model.alias} tells no {names[0]}: expected an integer under {' or '.join(names)}.",
            path=CONFIG,
            problems=[f"no {names[0]}"],
        )
    return int(found)


def _require_one_vocabulary(shelf: Shelf, source: Model, target: Model) -> None:
    ends = Ends(
        source=source,
        target=target,
        source_folder=shelf.model_place(source).folder,
        target_folder=shelf.model_place(target).folder,
        source_entry=shelf.lock.models.get(source.alias),
        target_entry=shelf.lock.models.get(target.alias),
        families=shelf.catalog.tokenizers,
    )
    head = Head.model_construct(source=source.alias, target=target.alias, run="", from_="")
    for field, (status, detail) in judge_ids(head, ends).items():
        if status == "fail":
            raise IncompatibleError(
                subject=f"{source.alias} -> {target.alias}",
                field=field,
                expected="ids that mean the same to both models",
                found=detail,
                next_step="A head can only lead between models of one vocabulary.",
            )
