"""What a model must be to be run over a cache of fixed size, judged before it is."""

from __future__ import annotations

from typing import Final, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from heads.anatomy import has_room_past_positions, max_positions, output_rows
from heads.engines.proof import alike
from heads.engines.slots import makes_windows
from heads.level import Level
from registry.errors import IncompatibleError

MASKED_ATTENTIONS: Final = ("sdpa", "eager")  # those that take a ready mask
PROVED: Final = 24  # tokens, or as many as the model was made for


class Runs(Level, Protocol):
    """A level that can let go of its text."""

    def end(self) -> None:
        """Let go of it."""
        ...


def captures(model: PreTrainedModel) -> bool:
    """Whether a model is of the kind that `CapturedLevel` takes: on one device, with attention that takes a mask."""
    return len(_places(model)) == 1 and model.config._attn_implementation in MASKED_ATTENTIONS


def _places(model: PreTrainedModel) -> list[str]:
    return sorted({str(parameter.device) for parameter in model.parameters()})


def require_fit(model: PreTrainedModel, name: str) -> None:
    """Refuse a model whose place, attention or windows tell that it cannot be captured.

    Raises:
        IncompatibleError: it cannot.
    """
    places = [place.replace("meta", "meta (offloaded)") for place in _places(model)]
    if not captures(model):
        raise _unfit(
            name,
            "one device for all of a model, and attention 'sdpa' or 'eager', to be captured",
            f"attention {model.config._attn_implementation!r} on {', '.join(places)}",
        )
    if not has_room_past_positions(model):
        raise _unfit(
            name,
            "a model that takes masked keys past its last position",
            f"{type(model).__name__}, which has {max_positions(model)} and room for no more",
        )
    # the proof's text is shorter than most windows: what the model does past them its code must tell
    if not makes_windows(model):
        raise _unfit(
            name,
            "windows of attention as their config declares them",
            f"{type(model).__name__}, which looks back another way",
        )


@torch.inference_mode()
def prove_rows(level: Runs, plain: Runs, model: PreTrainedModel) -> None:
    """Hold rows of a text, and of what is fed after some of it was taken back, against those of the model by itself.

    Raises:
        IncompatibleError: they are others.
    """
    vocabulary = output_rows(model)
    count = min(PROVED, max_positions(model) or PROVED)
    text = [7 * (place + 1) % vocabulary for place in range(count)]
    shown: list[tuple[Tensor, Tensor]] = []
    for one in (plain, level):
        one.begin(count)
        try:
            first = one.feed(text, count).logits.float().clone()
            one.rollback(count - count // 2)
            # each by itself: rows in order would make up for rows that are not
            shown.append((first, one.feed(text[: count // 2], count // 2).logits.float()))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise _unfit(level.name, "a model whose cache can be of a fixed size", str(error)) from error
        finally:
            one.end()
    if not all(alike(*rows) for rows in zip(*shown, strict=True)):
        raise _unfit(level.name, "over a cache of fixed size, the rows the model gives by itself", "others")


def _unfit(name: str, expected: str, found: str) -> IncompatibleError:
    return IncompatibleError(
        subject=name,
        field="engine",
        expected=expected,
        found=found,
        next_step="Leave the engine out, or use 'eager': what cannot be captured runs eagerly.",
    )
