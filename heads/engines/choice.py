"""Which engine runs a model: the one asked for, or what suits its place."""

from __future__ import annotations

from typing import Final, Literal, get_args

import torch
from transformers import PreTrainedModel

from heads.edge import AcceptanceHead
from heads.engines.captured import QUERY_LENGTHS, CapturedLevel, captures
from heads.engines.eager import EagerLevel
from heads.engines.recorded_head import RecordedHead
from heads.head import AcceptancePredictionHead
from registry.errors import IncompatibleError, UsageError

Engine = Literal["eager", "captured", "fused"]
ENGINES: Final[tuple[str, ...]] = get_args(Engine)
ON_A_GPU: Final[tuple[int, ...]] = (
    1,
    2,
    4,
    8,
    16,
    32,
)  # there padding costs next to nothing, and each graph costs memory
ONE_FOR_ALL: Final[tuple[int, ...]] = (
    16,
    32,
)  # the target's: one token and sixteen are computed by the same kernels


def read_engine(name: str | None) -> Engine | None:
    """The engine of that name; None leaves the choice to each model.

    Raises:
        UsageError: there is none.
    """
    for engine in get_args(Engine):
        if engine == name:
            found: Engine = engine
            return found
    if name is None:
        return None
    raise UsageError(f"engine must be one of {', '.join(ENGINES)}, got {name!r}.")


def engine_for(model: PreTrainedModel, asked: Engine | None) -> Engine:
    """What was asked for, else 'captured' on a GPU where the model can be, and 'eager' anywhere else."""
    if asked is not None:
        return asked
    return "captured" if model.device.type == "cuda" and captures(model) else "eager"


def level_for(model: PreTrainedModel, *, name: str, engine: Engine, top: bool) -> EagerLevel | CapturedLevel:
    """A level of a chain; the top one decides the text, so all its queries take one path where rounding could tell.

    Raises:
        RollbackError, IncompatibleError: the model does not fit the engine.
    """
    if engine == "eager":
        return EagerLevel(model, name=name)
    places = sorted({str(parameter.device) for parameter in model.parameters()})
    if len(places) > 1:
        raise IncompatibleError(
            subject=name,
            field="engine",
            expected=f"one device for all of a model, to be {engine}",
            found=", ".join(place.replace("meta", "meta (offloaded)") for place in places),
            next_step="Leave the engine out: a model on several devices then runs eagerly, and the others as they can.",
        )
    lengths = query_lengths(gpu=model.device.type == "cuda", top=top, dtype=model.dtype)
    return CapturedLevel(model, name=name, query_lengths=lengths, fused=engine == "fused")


def query_lengths(*, gpu: bool, top: bool, dtype: torch.dtype) -> tuple[int, ...]:
    """What the queries of a captured level are padded to."""
    if top and (gpu or dtype != torch.float32):
        return ONE_FOR_ALL
    return ON_A_GPU if gpu else QUERY_LENGTHS


def head_for(head: AcceptancePredictionHead | None, engine: Engine) -> AcceptanceHead | None:
    """A head that answers beside such a level."""
    return head if head is None or engine == "eager" else RecordedHead(head)
