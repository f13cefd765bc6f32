"""Which models are measured together: a chain that heads make, or models that share a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from registry.chains import Chain, lone
from registry.compat import judge_edge, pair_of
from registry.errors import IncompatibleError, NoChainError, UsageError
from registry.facts import read_edge_facts
from registry.names import find_model
from registry.pipeline import Pipeline, find_chain
from registry.records import Finding, Head, Model
from registry.shelf import Shelf

SHARED = ("tokenizer", "vocabulary")  # what two models need to have in common, head or none


def models_to_measure(
    shelf: Shelf,
    names: Sequence[str],
    *,
    length: int | None = None,
    via: Sequence[str] | None = None,
    run: str | None = None,
) -> Pipeline:
    """One model alone; of two the chain from the first to the second; of more exactly these, smallest first.

    Where no head leads from one of two models to the other, and none was asked for, it is these two without one.

    Raises:
        UnknownNameError: no model of that name.
        NoChainError: no chain, and the two models are not for each other either.
        UsageError: one model is named twice, or a larger one before a smaller one; or a chain is narrowed that is named
            in full.
        IncompatibleError: neighbours of three or more models do not share a tokenizer.
    """
    narrowed = bool(length or via or run)
    if len(names) != 2 and narrowed:
        raise UsageError(
            "--length, --via and --run choose among the chains from one model to another: expected two names, got "
            f"{len(names)}."
        )
    if len(names) == 2:
        try:
            return Pipeline(find_chain(shelf, *names, length=length, via=via or None, run=run), shelf)
        except NoChainError:
            if narrowed or not _fit(shelf, names):
                raise
    return exactly(shelf, names)


def exactly(shelf: Shelf, names: Sequence[str]) -> Pipeline:
    """These models, smallest first, whatever heads there are.

    Raises:
        UnknownNameError: no model of that name.
        UsageError: one is named twice, or a larger one before a smaller one.
        IncompatibleError: neighbours do not share a tokenizer.
    """
    if len(names) == 1:
        return Pipeline(lone(shelf.catalog, names[0]), shelf)
    models = [find_model(shelf.catalog, name) for name in names]
    _require_order(models)
    for pair in pairwise(models):
        for finding in _differences(shelf, *pair):
            raise IncompatibleError(
                subject=f"{pair[0].alias} -> {pair[1].alias}",
                field=finding.check,
                expected=f"one {finding.check} for both models",
                found=finding.detail.rpartition(", got ")[2],
                next_step="Name models that share a tokenizer.",
            )
    return Pipeline(Chain.model_construct(models=tuple(models)), shelf)


def _fit(shelf: Shelf, names: Sequence[str]) -> bool:
    """Whether two models can stand in one chain, in this order."""
    models = [find_model(shelf.catalog, name) for name in names]
    try:
        _require_order(models)
    except UsageError:
        return False
    return not _differences(shelf, *models)


def _require_order(models: Sequence[Model]) -> None:
    aliases = [model.alias for model in models]
    if len(set(aliases)) < len(aliases):
        raise UsageError(f"Expected every model once, got {', '.join(aliases)}.")
    for smaller, larger in pairwise(models):
        sizes = smaller.parameters, larger.parameters
        if None not in sizes and sizes[0] > sizes[1]:  # type: ignore[operator]
            raise UsageError(
                f"Expected the smallest model first, got {smaller.alias} with {sizes[0]} parameters before "
                f"{larger.alias} with {sizes[1]}."
            )


def _differences(shelf: Shelf, source: Model, target: Model) -> list[Finding]:
    """What keeps two models from standing in one chain, by the catalog and by what is on this machine."""
    folders = (shelf.model_place(model).folder for model in (source, target))
    pair = pair_of(source, target, shelf.catalog.tokenizers, read_edge_facts(None, *folders))
    nobody = Head.model_construct(source=source.alias, target=target.alias, run="none", from_="none")
    return [one for one in judge_edge(nobody, pair) if one.check in SHARED and one.status == "fail"]
