"""A chain loaded to be measured: its models, with the head of every pair of them that has one here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from heads.cascade import Cascade
from heads.engines.choice import read_engine
from heads.head import AcceptancePredictionHead
from heads.models import load_registered_model, load_registered_tokenizer, require_loadable
from heads.placement import NO_LENGTH, chain_memory, require_room
from heads.runtime import dtype_named, load_registered_head, no_bars, placement_named
from heads.settings import MAX_DRAFT
from registry.chains import Chain, resolve
from registry.errors import NoChainError, NotInstalledError
from registry.records import Head

if TYPE_CHECKING:
    from registry.pipeline import Pipeline

Places = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class LoadedChain:
    """Models in one cascade, which has no heads, and heads by the places of the pairs they advise."""

    cascade: Cascade
    heads: dict[Places, tuple[str, AcceptancePredictionHead]]


def load_to_measure(
    pipeline: Pipeline,
    *,
    device: str | None = None,
    dtype: str | None = None,
    engine: str | None = None,
    positions: int | None = None,
    said: Callable[[str], None] = lambda _: None,
) -> LoadedChain:
    """Load the models of a pipeline, and a head for every pair of them that has one on this machine.

    Args:
        pipeline: The models; whether its chain has heads makes no difference, but those it has are taken.
        device, dtype, engine: As for `load_cascade`.
        positions: Of the longest text, prompt included, that there must be room for.
        said: Told of pairs whose head is not here.

    Raises:
        NotInstalledError: A model is not on this machine.
        CheckpointError: No record, or a file that is not what its record says.
        UsageError: No such device, dtype or engine here, or no room.
    """
    asked, placement = read_engine(engine), placement_named(device, None)
    kind, shelf = dtype_named(dtype, placement.first), pipeline.shelf
    models = pipeline.chain.models
    require_loadable(shelf, models)
    chosen = _heads_here(pipeline, said)
    whole = replace(pipeline, chain=Chain.model_construct(models=models, heads=tuple(chosen.values())))
    require_room(
        chain_memory(
            whole, placement, dtype=kind, engine=asked, positions=positions, max_draft=2 * MAX_DRAFT
        ),
        remedies=NO_LENGTH,
    )
    heads = {
        places: (head.name, load_registered_head(shelf, head).to(placement.first))
        for places, head in chosen.items()
    }
    with no_bars():
        loaded = [load_registered_model(shelf, model, device=placement.first, dtype=kind) for model in models]
    tokenizer = load_registered_tokenizer(shelf, models[-1])
    cascade = Cascade(loaded, None, tokenizer, names=pipeline.models, engine=asked)
    return LoadedChain(cascade=cascade, heads=heads)


def _heads_here(pipeline: Pipeline, said: Callable[[str], None]) -> dict[Places, Head]:
    """The chain's own head for neighbours, where it has one, else the best of each pair; those that are here."""
    shelf, models = pipeline.shelf, pipeline.chain.models
    found: dict[Places, Head] = {}
    for first, second in combinations(range(len(models)), 2):
        if pipeline.chain.heads and second == first + 1:
            head = pipeline.chain.heads[first]
        else:
            try:
                ends = models[first].alias, models[second].alias
                head = resolve(shelf.catalog, *ends, length=2, facts=shelf.edge_facts).heads[0]
            except NoChainError:
                continue
        try:
            shelf.head_place(head).installed(head.name)
        except NotInstalledError:
            said(
                f"{head.name} is not on this machine, so {head.edge} is measured without a head. "
                f"`specreg download {head.source} {head.target}` fetches it."
            )
        else:
            found[first, second] = head
    return found
