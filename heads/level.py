"""One model of a chain and its cache: feed tokens, read rows and hidden states, roll back.

The cache keeps every position of every layer, sliding-window layers too: the window is in the mask. A cache
that dropped what left the window could not be rolled back past it. Rows and hidden states come from the
model's own forward, so whatever a family does to its logits (soft caps, scales) is done.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from registry.errors import IncompatibleError, RollbackError

PROBE: Final = (2, 3, 5, 7)
CACHE_ARGUMENTS: Final = ("cache", "past_key_values")  # transformers 5.24 and later, and before


@dataclass(frozen=True)
class Fed:
    """What a forward shows of the last n positions: logits (n, vocab) and last hidden states (n, hidden)."""

    logits: Tensor
    hidden: Tensor


class Level(Protocol):
    """A model with a cache, as decoding needs it.

    `length` counts the positions in the cache, `forwards` the calls of the model since `begin`, and `seconds` the
    time of the host in those calls.
    """

    name: str
    length: int
    forwards: int
    seconds: float

    def begin(self) -> None:
        """Empty the cache and the counters."""
        ...

    def feed(self, token_ids: Sequence[int], rows: int) -> Fed:
        """Append tokens to the cache, at least one; show the last `rows` of their positions, at most all."""
        ...

    def rollback(self, length: int) -> None:
        """Forget every position from `length` on; nothing where the cache is no longer than that."""
        ...


class ModelLevel:
    """A transformers causal LM, run eagerly, one sequence.

    Args:
        model: In eval mode; on any device and of any floating dtype.
        name: What reports and messages call it.

    Raises:
        RollbackError: the model's state cannot be taken back token by token.
        IncompatibleError: it shows no last hidden state, or is in training mode.
    """

    def __init__(self, model: PreTrainedModel, *, name: str) -> None:
        self.model = model
        self.name = name
        self.length = 0
        self.forwards = 0
        self.seconds = 0.0
        self._cache: DynamicCache | None = None
        self._options = inspect.signature(model.forward).parameters
        self._cache_argument = cache_argument(model)
        self._body: nn.Module = model.base_model
        self._embedding: nn.Module = model.get_input_embeddings()
        require_eval(model, name)
        _require_rollback(model, name)
        if self._body is model:
            raise IncompatibleError(
                subject=name,
                field="body",
                expected="a base model that shows its last hidden state",
                found=type(model).__name__,
                next_step="A causal LM of transformers has one.",
            )
        self._prove_rollback()

    def begin(self) -> None:
        """Empty the cache and the counters."""
        self._cache = DynamicCache()
        self.length = 0
        self.forwards = 0
        self.seconds = 0.0

    def end(self) -> None:
        """Give the cache's memory back."""
        self._cache = None
        self.length = 0

    @torch.inference_mode()
    def feed(self, token_ids: Sequence[int], rows: int) -> Fed:
        """One forward. The attention mask is left out: there is one sequence and no padding."""
        started = time.perf_counter()
        device = next(self._embedding.parameters()).device
        ids = torch.tensor([token_ids], device=device)
        call: dict[str, Any] = {"input_ids": ids, self._cache_argument: self._cache, "use_cache": True}
        if "position_ids" in self._options:
            first = self.length
            call["position_ids"] = torch.arange(first, first + len(token_ids), device=device).unsqueeze(0)
        if "logits_to_keep" in self._options:
            call["logits_to_keep"] = rows
        seen: list[Tensor] = []
        thread = threading.get_ident()

        def see(_module: nn.Module, _inputs: object, output: Any) -> None:
            if threading.get_ident() == thread:  # another cascade may run this model in another thread
                seen.append(output[0])

        handle = self._body.register_forward_hook(see)
        try:
            logits = self.model(**call, return_dict=True).logits
        finally:
            handle.remove()
        self.length += len(token_ids)
        self.forwards += 1
        self.seconds += time.perf_counter() - started
        return Fed(logits=logits[0, -rows:], hidden=seen[-1][0, -rows:])

    @torch.inference_mode()
    def rollback(self, length: int) -> None:
        """`crop` takes the number of positions to remove, negated."""
        if self._cache is not None and length < self.length:
            self._cache.crop(length - self.length)
            self.length = length

    def _prove_rollback(self) -> None:
        """Feed, take back, feed something else, take back, feed again: the rows must come out as before."""
        vocabulary = output_rows(self.model)
        tokens = [token % vocabulary for token in PROBE]
        self.begin()
        try:
            first = self.feed(tokens, 2).logits.float()
            self.rollback(2)
            self.feed(tokens[:2], 1)
            self.rollback(2)
            again = self.feed(tokens[2:], 2).logits.float()
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise _no_rollback(self.name, self.model) from error
        finally:
            self.end()
        # kernels for 4 and for 2 queries round differently; a state that kept what was taken back is far off
        if float((first - again).abs().mean()) > 0.1 * float(first.std()):
            raise _no_rollback(self.name, self.model)


def require_eval(model: PreTrainedModel, name: str) -> None:
    """Refuse a model in training mode: dropout would make its rows random.

    Raises:
        IncompatibleError: it is in training mode.
    """
    if model.training:
        raise IncompatibleError(
            subject=name, field="mode", expected="eval", found="train", next_step="Call model.eval() first."
        )


def output_rows(model: PreTrainedModel) -> int:
    """Tokens the model can be fed and can propose: rows of its output layer, or of its embedding if fewer."""
    sizes = [int(model.config.get_text_config(decoder=True).vocab_size)]
    for layer, size in (
        (model.get_output_embeddings(), "out_features"),
        (model.get_input_embeddings(), "num_embeddings"),
    ):
        if isinstance(getattr(layer, size, None), int):
            sizes.append(getattr(layer, size))
    return min(sizes)


def hidden_size(model: PreTrainedModel) -> int:
    """Width of the last hidden state."""
    return int(model.config.get_text_config(decoder=True).hidden_size)


def max_positions(model: PreTrainedModel) -> int | None:
    """Positions the model was made for; None where its config sets no bound."""
    bound = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    return bound if isinstance(bound, int) and bound > 0 else None


def rope_switch(model: PreTrainedModel) -> int | None:
    """The length at which the model's positions change meaning (longrope), or None.

    A sequence that crosses it has keys of both kinds in its cache; which ones depends on how it was fed.
    """
    config = model.config.get_text_config(decoder=True)
    rope = getattr(config, "rope_parameters", None)
    if not isinstance(rope, dict) or rope.get("rope_type") != "longrope":
        return None
    switch = rope.get("original_max_position_embeddings") or getattr(
        config, "original_max_position_embeddings", None
    )
    return switch if isinstance(switch, int) else None


def cache_argument(model: PreTrainedModel) -> str:
    """What the model's forward calls the cache it is given; empty where it takes none."""
    options = inspect.signature(model.forward).parameters
    return next((name for name in CACHE_ARGUMENTS if name in options), "")


def _require_rollback(model: PreTrainedModel, name: str) -> None:
    """Attention over every earlier position, and nothing else, can be taken back.

    State-space and recurrent models carry a running state; the library marks them stateful.
    """
    if model.config.is_encoder_decoder or model._is_stateful or not cache_argument(model):
        raise _no_rollback(name, model)
    try:
        kinds = {type(layer) for layer in DynamicCache(config=model.config).layers}
    except (KeyError, AttributeError, TypeError) as error:
        raise _no_rollback(name, model) from error
    if not kinds <= {DynamicLayer, DynamicSlidingWindowLayer}:
        raise _no_rollback(name, model)


def _no_rollback(name: str, model: PreTrainedModel) -> RollbackError:
    return RollbackError(
        f"{name} ({model.config.model_type}) cannot stand in a cascade: expected attention over a cache of "
        "keys and values, from which rejected tokens can be taken back, got a model whose state cannot be rolled "
        "back. Choose a model with attention layers only."
    )
