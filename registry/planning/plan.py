"""The chains that end at one model, best first, each with what is expected of it and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from registry.chains import Chain, lone, resolve
from registry.errors import NoChainError
from registry.planning.advice import next_steps, worth_training
from registry.planning.closed import fastest
from registry.planning.estimate import Estimate, Estimator
from registry.planning.law import Law
from registry.planning.measured import Measured
from registry.planning.recorded import recorded_acceptance
from registry.planning.ways import ways_to
from registry.records import Head
from registry.shelf import Shelf

SHORTLIST: Final = 24
MOST_MODELS: Final = 4
BESIDE_WEIGHTS: Final = 1.1  # caches and the rest: `decode` counts them exactly before it loads


@dataclass(frozen=True, kw_only=True)
class PlannedChain:
    """One chain: what is expected of it, and what would have to be done first.

    `memory_bytes` is that of the weights and a tenth more; None where sizes are not known.
    """

    chain: Chain
    estimate: Estimate
    speedup: float
    memory_bytes: int | None
    installed: bool
    next: tuple[str, ...]

    @property
    def tokens_per_second(self) -> float:
        """While decoding; prompts are not counted."""
        return 1 / self.estimate.seconds_per_token

    def to_json(self) -> dict[str, Any]:
        """One entry of "chains"."""
        one = self.estimate
        return {
            "models": list(one.models),
            "predicted_tokens_per_second": self.tokens_per_second,
            "predicted_speedup": self.speedup,
            "settings": one.lengths.settings,
            "basis": {
                "forwards": dict(one.forwards),
                "acceptance": {
                    edge: {"value": value, "from": basis} for edge, (value, basis) in one.acceptance.items()
                },
                "lengths": "replayed" if one.replayed else "expected",
            },
            "heads": list(one.heads),
            "memory_bytes": self.memory_bytes,
            "installed": self.installed,
            "next": list(self.next),
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Chains to one target, best first, the target alone among them.

    `considered` counts the chains of the graph, `unknown` those with a model whose size nobody tells, `too_large` those
    that were asked to fit and do not. `complete` is False where there were more than could be looked at. `train` is
    the command for an edge that is not there and would pay, None where there is none.
    """

    target: str
    device: str
    law: Law
    chains: tuple[PlannedChain, ...]
    considered: int
    unknown: int
    too_large: int
    complete: bool
    train: str | None

    def to_json(self) -> dict[str, Any]:
        """The document of `specreg plan --json`."""
        return {
            "target": self.target,
            "device": self.device,
            "law": self.law.key,
            "chains": [one.to_json() for one in self.chains],
            "considered": self.considered,
            "unknown_sizes": self.unknown,
            "too_large": self.too_large,
            "complete": self.complete,
            "train": self.train,
        }


def plan(
    shelf: Shelf,
    target: str,
    *,
    measured: Measured,
    law: Law,
    source: str | None = None,
    top: int = 5,
    most_models: int = MOST_MODELS,
    memory_bytes: int | None = None,
    dtype: str | None = None,
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
    """
    catalog = shelf.catalog
    known: dict[str, Head] = {}
    estimator = Estimator(
        catalog.models,
        measured,
        law,
        dtype=dtype,
        recorded=lambda name: recorded_acceptance(shelf, known[name]) if name in known else None,
    )
    ways = ways_to(catalog, target, source=source, models=most_models)
    fitting, too_large = [], 0
    for heads in ways.chains:
        size = _memory(estimator, _names(heads, target))
        if heads and memory_bytes is not None and size is not None and size > memory_bytes:
            too_large += 1
        else:
            fitting.append(heads)
    ranked, unknown = _ranked(estimator, fitting, target)
    found: list[PlannedChain] = []
    alone = estimator.estimate([target], [])
    for heads in _shortlist(estimator, ranked, target, top):
        chain = _resolved(shelf, heads, target)
        estimate = None
        if chain is not None:
            known |= {head.name: head for head in chain.heads}
            estimate = estimator.estimate(chain.names, [head.name for head in chain.heads])
        if chain is not None and estimate is not None and alone is not None:
            found.append(_planned(shelf, estimator, chain, estimate, alone))
    found.sort(
        key=lambda one: (one.estimate.seconds_per_token, len(one.estimate.models), one.estimate.models)
    )
    kept = [*found[:top], *(one for one in found[top:] if not one.estimate.heads)]
    return Plan(
        target=target,
        device=_device(measured, estimator),
        law=law,
        chains=tuple(kept),
        considered=len(ways.chains),
        unknown=unknown,
        too_large=too_large,
        complete=ways.complete,
        train=worth_training(catalog, estimator, target, best=kept[0].estimate if kept else None),
    )


def _names(heads: Sequence[Head], target: str) -> tuple[str, ...]:
    return (*(head.source for head in heads), target)


def _memory(estimator: Estimator, models: Sequence[str]) -> int | None:
    sizes = [estimator.weight_bytes(model) for model in models]
    known = [size for size in sizes if size is not None]
    return None if len(known) < len(sizes) else round(BESIDE_WEIGHTS * sum(known))


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


def _resolved(shelf: Shelf, heads: Sequence[Head], target: str) -> Chain | None:
    """The chain as `chain` would find it, by what files show too; None where they show that it does not fit."""
    if not heads:
        return lone(shelf.catalog, target)
    models = _names(heads, target)
    edges = set(pairwise(models))
    among = {
        "models": {name: shelf.catalog.models[name] for name in models},
        "heads": tuple(head for head in shelf.catalog.heads if (head.source, head.target) in edges),
    }
    try:
        return resolve(
            shelf.catalog.model_copy(update=among),
            models[0],
            target,
            length=len(models),
            via=models[1:-1],
            facts=shelf.edge_facts,
        )
    except NoChainError:
        return None


def _planned(
    shelf: Shelf, estimator: Estimator, chain: Chain, estimate: Estimate, alone: Estimate
) -> PlannedChain:
    lacking = [head.name for head in chain.heads if shelf.head_place(head).folder is None]
    absent = [model.alias for model in chain.models if shelf.model_place(model).folder is None]
    return PlannedChain(
        chain=chain,
        estimate=estimate,
        speedup=alone.seconds_per_token / estimate.seconds_per_token,
        memory_bytes=_memory(estimator, estimate.models),
        installed=not lacking and not absent,
        next=next_steps(estimate, installed=not lacking and not absent),
    )


def _device(measured: Measured, estimator: Estimator) -> str:
    if measured.setup is not None:
        return str(measured.setup)
    rate = estimator.assumed_times.bytes_per_second
    return f"a device that was not measured ({rate / 1e12:.1f} TB/s assumed)"
