"""The chains that end at one model, best first, each with what is expected of it and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from registry.chains import Chain, lone, resolve
from registry.command import Catalogs
from registry.errors import NoChainError, UsageError
from registry.nochain import has_run
from registry.planning.advice import next_steps, worth_training
from registry.planning.closed import fastest
from registry.planning.estimate import Estimate, Estimator
from registry.planning.law import Law
from registry.planning.lengths import DraftLengths
from registry.planning.measured import Measured
from registry.planning.planned import MOST_MODELS, TOP, Plan, PlannedChain
from registry.planning.recorded import recorded_acceptance
from registry.planning.runs import Runs, of_run
from registry.planning.sizes import sized_models
from registry.planning.ways import ways_to
from registry.records import Catalog, Head
from registry.shelf import Shelf

SHORTLIST: Final = 24


def plan(
    shelf: Shelf,
    target: str,
    *,
    measured: Measured,
    law: Law,
    source: str | None = None,
    top: int = TOP,
    most_models: int = MOST_MODELS,
    memory_bytes: int | None = None,
    dtype: str | None = None,
    installed: bool = False,
    run: str | None = None,
    catalogs: Catalogs = (),
    loading: Sequence[str] = (),
) -> Plan:
    """Find the chains to a target that are expected to decode fastest.

    Args:
        shelf: Catalog and places.
        target: The last model's alias.
        measured: Of the setup it is for.
        law: How texts are drawn.
        source: The first model's alias; any when None.
        top: How many chains are told; the target alone is told besides.
        most_models: Of one chain.
        memory_bytes: What weights, and a tenth more, may take.
        dtype: Of models that were not measured.
        installed: Only chains whose files are all on this machine, and the target alone.
        run: Only chains with that run, wherever an edge of theirs has it, and the target alone.
        catalogs: What recommended commands are to be given too.
        loading: What those are to be given that measure, as words of a command line.

    Returns:
        Plan: without chains where of the target neither time nor size is known.

    Raises:
        UsageError: Not even the target alone fits into the memory.
    """
    catalog = _present(shelf) if installed else shelf.catalog
    catalog = catalog.model_copy(update={"heads": of_run(catalog.heads, run)})
    sized = sized_models(shelf)
    known: dict[str, Head] = {}
    estimator = Estimator(
        sized,
        measured,
        law,
        dtype=dtype,
        recorded=lambda name: recorded_acceptance(shelf, known[name]) if name in known else None,
    )
    _require_room(estimator, target, memory_bytes)
    ways = ways_to(catalog, target, source=source, models=most_models)
    asked = [heads for heads in ways.chains if not heads or run is None or _has(heads, run)]
    fitting, too_large = [], 0
    for heads in asked:
        size = estimator.memory_bytes(_names(heads, target))
        if memory_bytes is not None and size is not None and size > memory_bytes:
            too_large += 1
        else:
            fitting.append(heads)
    ranked, unknown = _ranked(estimator, fitting, target)
    found: list[PlannedChain] = []
    refused = 0
    runs, every = Runs(catalog, measured, law), Runs(shelf.catalog, measured, law)
    alone = estimator.estimate([target], [])
    for heads in _shortlist(estimator, ranked, target, top):
        resolved = partial(_resolved, shelf, catalog, heads, target, run=run)
        chain, estimate = _fastest(estimator, known, resolved, runs.worth(heads) if heads else [[]])
        if chain is None and heads:
            chain, estimate = _fastest(estimator, known, resolved, [[runs.beside(head) for head in heads]])
        refused += chain is None
        if chain is not None and estimate is not None and alone is not None:
            tuned = measured.lengths(chain.names, estimate.heads, law) if estimate.heads else None
            speedup = alone.seconds_per_token / estimate.seconds_per_token
            size = estimator.memory_bytes(chain.names)
            steps = partial(next_steps, estimate, law=law, run=run, catalogs=catalogs, loading=loading)
            parallel = tuple(map(every.several, chain.heads))
            one = _planned(shelf, chain, estimate, speedup=speedup, memory_bytes=size, tuned=tuned)
            found.append(replace(one, parallel=parallel, next=steps(installed=one.installed)))
    found.sort(
        key=lambda one: (one.estimate.seconds_per_token, len(one.estimate.models), one.estimate.models)
    )
    kept = [*found[:top], *(one for one in found[top:] if not one.estimate.heads)]
    return Plan(
        target=target,
        setup=measured.setup,
        assumed=estimator.assumed_times,
        law=law,
        chains=tuple(kept),
        considered=len(asked),
        unknown=unknown,
        too_large=too_large,
        refused=refused,
        complete=ways.complete,
        train=worth_training(
            shelf.catalog.model_copy(update={"models": sized}),
            estimator,
            target,
            best=kept[0].estimate if kept else None,
            memory_bytes=memory_bytes,
            catalogs=catalogs,
        ),
        unread=len(measured.unread | (measured.likest.unread if measured.likest else set())),
    )


def _names(heads: Sequence[Head], target: str) -> tuple[str, ...]:
    return (*(head.source for head in heads), target)


def _ranked(
    estimator: Estimator, ways: Sequence[tuple[Head, ...]], target: str
) -> tuple[list[tuple[float, tuple[Head, ...]]], int]:
    """Ways with their rough seconds a token, and how many had a model of unknown size."""
    rough: dict[int, list[tuple[tuple[Head, ...], list[float], list[float]]]] = {}
    unknown = 0
    acceptance: dict[tuple[str, str], float | None] = {}
    for heads in ways:
        models = _names(heads, target)
        seconds = [estimator.seconds(model, as_target=model == target) for model in models]
        for head in heads:
            edge = (head.source, head.target)
            if edge not in acceptance:
                acceptance[edge] = estimator.rough_acceptance(*edge)
        shares = [acceptance[head.source, head.target] for head in heads]
        if None in seconds or None in shares:
            unknown += 1
            continue
        rough.setdefault(len(models), []).append(
            (heads, [one for one in seconds if one is not None], [one for one in shares if one is not None])
        )
    ranked: list[tuple[float, tuple[Head, ...]]] = []
    for several in rough.values():
        speeds = fastest(np.array([one[1] for one in several]), np.array([one[2] for one in several]))
        ranked += zip(speeds.tolist(), (one[0] for one in several), strict=True)
    ranked.sort(key=lambda one: one[0])
    return ranked, unknown


def _shortlist(
    estimator: Estimator, ranked: Sequence[tuple[float, tuple[Head, ...]]], target: str, top: int
) -> Iterator[tuple[Head, ...]]:
    """The target alone, the fastest by the rough formula, and of the others those that were measured whole."""
    yield ()
    most = max(SHORTLIST, 2 * top)
    listed = [heads for _, heads in ranked if heads]
    yield from listed[:most]
    further = (heads for heads in listed[most:] if estimator.knows(_names(heads, target)))
    yield from list(further)[:most]


def _require_room(estimator: Estimator, target: str, memory_bytes: int | None) -> None:
    """Raises UsageError where not even the target alone fits."""
    size = estimator.memory_bytes([target])
    if memory_bytes is not None and size is not None and size > memory_bytes:
        raise UsageError(
            f"Nothing fits into {memory_bytes:,} bytes: {target} alone needs {size:,}, its weights and a tenth more. "
            "Give it more memory, or a smaller --dtype."
        )


def _has(heads: Sequence[Head], run: str) -> bool:
    return any(has_run(head, run) for head in heads)


def _fastest(
    estimator: Estimator,
    known: dict[str, Head],
    resolved: Callable[[Sequence[Sequence[Head]]], Chain | None],
    worth: Sequence[Sequence[Sequence[Head]]],
) -> tuple[Chain | None, Estimate | None]:
    """Of several choices of runs the chain that is expected to be fastest; None where none fits, or tells.

    Args:
        estimator: Tells of each.
        known: Heads by name, to which those of the chains are added.
        resolved: Makes a chain, of the runs of each edge to choose among.
        worth: The choices.
    """
    fitting = [chain for chain in map(resolved, worth) if chain is not None]
    found: list[tuple[Chain, Estimate]] = []
    for chain in fitting:
        known |= {head.name: head for head in chain.heads}
        estimate = estimator.estimate(chain.names, [head.name for head in chain.heads])
        if estimate is not None:
            found.append((chain, estimate))
    if not found:
        return (fitting[0], None) if fitting else (None, None)
    return min(found, key=lambda one: one[1].seconds_per_token)


def _resolved(
    shelf: Shelf,
    catalog: Catalog,
    heads: Sequence[Head],
    target: str,
    among: Sequence[Sequence[Head]],
    *,
    run: str | None,
) -> Chain | None:
    """The chain as `chain` would find it, by what files show too; None where they show that it does not fit.

    Args:
        shelf, catalog: What files and the catalog show.
        heads: Of the chain, any run of each edge.
        target: Its last model.
        among: Of each edge the runs to choose among.
        run: The one asked for.
    """
    if not heads:
        return lone(catalog, target)
    models = _names(heads, target)
    several = {
        "models": {name: catalog.models[name] for name in models},
        "heads": tuple(head for edge in among for head in edge),
    }
    try:
        return resolve(
            catalog.model_copy(update=several),
            models[0],
            target,
            length=len(models),
            via=models[1:-1],
            run=run,
            facts=shelf.edge_facts,
        )
    except NoChainError:
        return None


def _present(shelf: Shelf) -> Catalog:
    """The catalog with those heads alone that are on this machine with both of their models."""
    here = {
        name for name, model in shelf.catalog.models.items() if shelf.model_place(model).folder is not None
    }
    heads = tuple(
        head
        for head in shelf.catalog.heads
        if {head.source, head.target} <= here and shelf.head_place(head).folder is not None
    )
    return shelf.catalog.model_copy(update={"heads": heads})


def _planned(
    shelf: Shelf,
    chain: Chain,
    estimate: Estimate,
    *,
    speedup: float,
    memory_bytes: int | None,
    tuned: DraftLengths | None,
) -> PlannedChain:
    places = [
        *(shelf.head_place(head) for head in chain.heads),
        *(shelf.model_place(model) for model in chain.models),
    ]
    return PlannedChain(
        chain=chain,
        estimate=estimate,
        speedup=speedup,
        memory_bytes=memory_bytes,
        installed=all(place.folder is not None for place in places),
        tuned=tuned,
        shelf=shelf,
    )
