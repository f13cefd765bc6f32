"""What a transformers model says of itself: sizes, bounds, and whether its cache can be taken back."""

from __future__ import annotations

import inspect
from typing import Final

from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from registry.errors import IncompatibleError, RollbackError

TABLED: Final = "max_seq_len"  # as MPT calls it
POSITIONS: Final = ("max_position_embeddings", TABLED)
CACHE_ARGUMENTS: Final = ("cache", "past_key_values")  # transformers 5.24 and later, and before


def require_eval(model: PreTrainedModel, name: str) -> None:
    """Refuse a model of which any part is in training mode: dropout would make its rows random.

    Raises:
        IncompatibleError: it is, or a part of it.
    """
    found = next((place for place, part in model.named_modules() if part.training), None)
    if found is not None:
        raise IncompatibleError(
            subject=name,
            field="mode",
            expected="eval",
            found=f"train, in its {found}" if found else "train",
            next_step="Call model.eval() first.",
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
    config = model.config.get_text_config(decoder=True)
    bound = getattr(config, _positions_in(model), None)
    return bound if isinstance(bound, int) and bound > 0 else None


def has_room_past_positions(model: PreTrainedModel) -> bool:
    """Whether a cache may be longer than what the model was made for: MPT looks keys up in a table that ends there."""
    return _positions_in(model) != TABLED


def _positions_in(model: PreTrainedModel) -> str:
    config = model.config.get_text_config(decoder=True)
    return next((name for name in POSITIONS if hasattr(config, name)), "")


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


def attention_windows(model: PreTrainedModel) -> list[int | None]:
    """For each layer of the model's cache how far back its attention reaches; None where it reaches everything.

    Raises:
        TypeError: a layer keeps something else than keys and values.
    """
    windows: list[int | None] = []
    for layer in DynamicCache(config=model.config).layers:
        if type(layer) is DynamicSlidingWindowLayer:
            windows.append(int(layer.sliding_window))
        elif type(layer) is DynamicLayer:
            windows.append(None)
        else:
            raise TypeError(type(layer).__name__)
    return windows


def require_rollback(model: PreTrainedModel, name: str) -> None:
    """Attention over every earlier position, and nothing else, can be taken back.

    State-space and recurrent models carry a running state; the library marks them stateful.

    Raises:
        RollbackError: there is more.
    """
    if model.config.is_encoder_decoder or model._is_stateful or not cache_argument(model):
        raise no_rollback(name, model)
    try:
        attention_windows(model)
    except (KeyError, AttributeError, TypeError) as error:
        raise no_rollback(name, model) from error


def no_rollback(name: str, model: PreTrainedModel) -> RollbackError:
    """The refusal of a model whose tokens cannot be taken back."""
    return RollbackError(
        f"{name} ({model.config.model_type}) cannot stand in a cascade: expected attention over a cache of "
        "keys and values, from which rejected tokens can be taken back, got a model whose state cannot be rolled "
        "back. Choose a model with attention layers only."
    )
