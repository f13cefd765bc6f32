"""Which engine runs a model: the one asked for, or what suits its place."""

from __future__ import annotations

from typing import Final, get_args

import torch
from transformers import PreTrainedModel

from heads.edge import AcceptanceHead
from heads.engines.captured import QUERY_LENGTHS, CapturedLevel
from heads.engines.eager import EagerLevel
from heads.engines.fitness import captures
from heads.engines.packing import SEVERAL, packs
from heads.engines.recorded_head import RecordedHead
from heads.head import AcceptancePredictionHead
from registry.errors import IncompatibleError, UsageError
from registry.planning import setup

CACHED_BYTES: Final = (
    64 << 20
)  # what a server's processor keeps of a model's weights from one token to the next
Engine = setup.Engine
ENGINES: Final[tuple[str, ...]] = get_args(Engine)
# on a GPU padding costs next to nothing, and each graph costs memory
ON_A_GPU: Final[tuple[int, ...]] = (1, 2, 4, 8, 16, 32)
# the target's, where rounding could tell: the same kernels for one token and for sixteen; and what is compiled for each
# length, where one token takes as long as sixteen
ONE_FOR_ALL: Final[tuple[int, ...]] = (16, 32)


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


def level_for(
    model: PreTrainedModel, *, name: str, engine: Engine | None, top: bool
) -> EagerLevel | CapturedLevel:
    """A level of a chain, by the engine asked for; else captured on a GPU where the model can be, and eager elsewhere.

    The top one decides the text, so all its queries take one path where rounding could tell.

    Raises:
        RollbackError: the model's tokens cannot be taken back.
        IncompatibleError: it does not fit the engine asked for.
    """
    gpu = model.device.type == "cuda"
    if engine == "eager" or (engine is None and not (gpu and captures(model))):
        return EagerLevel(model, name=name)
    lengths = query_lengths(gpu=gpu, top=top, dtype=model.dtype, fused=engine == "fused")
    if _three_cost_no_more_than_one(model):
        lengths = tuple(one for one in lengths if one >= SEVERAL)
    try:
        return CapturedLevel(model, name=name, query_lengths=lengths, fused=engine == "fused")
    except IncompatibleError:
        if engine is not None:
            raise
        return EagerLevel(model, name=name)


def query_lengths(*, gpu: bool, top: bool, dtype: torch.dtype, fused: bool = False) -> tuple[int, ...]:
    """What the queries of a captured level are padded to."""
    if (gpu and fused) or (top and (gpu or dtype != torch.float32)):
        return ONE_FOR_ALL
    return ON_A_GPU if gpu else QUERY_LENGTHS


def _three_cost_no_more_than_one(model: PreTrainedModel) -> bool:
    """Whether weights that no cache holds are read faster as they were laid out for several tokens: a CPU's float32."""
    return (
        model.device.type == "cpu"
        and model.dtype == torch.float32
        and packs(model.dtype)
        and sum(weight.nbytes for weight in model.parameters()) > CACHED_BYTES
    )


def head_for(head: AcceptancePredictionHead | None, engine: Engine) -> AcceptanceHead | None:
    """A head that answers beside such a level."""
    return head if head is None or engine == "eager" else RecordedHead(head)
