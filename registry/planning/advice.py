"""What would make a plan surer, or better: to measure, to download, to train."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from registry.command import Catalogs, chosen, command
from registry.compat import judge_edge, pair_of
from registry.planning.closed import fastest
from registry.planning.estimate import Estimate, Estimator
from registry.planning.law import Law
from registry.records import Catalog, Head

WORTH: Final = 1.03  # times as fast as the best chain there is


def next_steps(
    estimate: Estimate,
    *,
    installed: bool,
    law: Law,
    run: str | None = None,
    catalogs: Catalogs = (),
    loading: Sequence[str] = (),
) -> tuple[str, ...]:
    """Commands that come before this chain can be trusted and used, in their order.

    Args:
        estimate: Of the chain.
        installed: Whether its files are all here.
        law: How texts are going to be drawn: those that are measured are drawn like this too.
        run: The one that was asked for wherever an edge has it.
        catalogs: What the commands are to be given too.
        loading: What those are to be given that measure, as words of a command line.
    """
    models = estimate.models
    steps = []
    if not installed:
        which = chosen(models, run) if len(models) > 1 else models
        steps.append(command("download", *which, "--models", catalogs=catalogs))
    if not estimate.measured:
        run = run or (estimate.unheard[0].rpartition("/")[2] if estimate.unheard else None)
        which = list(models) if run is None or len(models) == 1 else chosen(models, run)
        drawn = law.measuring if len(models) > 1 else ()
        steps.append(command("measure", *which, *drawn, *loading, catalogs=catalogs))
    return tuple(steps)


def worth_training(
    catalog: Catalog,
    estimator: Estimator,
    target: str,
    *,
    best: Estimate | None,
    memory_bytes: int | None = None,
    catalogs: Catalogs = (),
) -> str | None:
    """The command for the head that would join a model to the target directly, where that should pay, and fit."""
    if best is None:
        return None
    whole = estimator.seconds(target, as_target=True)
    found: list[tuple[float, str, float]] = []
    for source in _unjoined(catalog, target):
        size = estimator.memory_bytes([source, target])
        if memory_bytes is not None and size is not None and size > memory_bytes:
            continue
        seconds, share = (
            estimator.seconds(source, as_target=False),
            estimator.rough_acceptance(source, target),
        )
        if whole is None or seconds is None or share is None or seconds >= whole:
            continue
        found.append((float(fastest(np.array([[seconds, whole]]), np.array([[share]]))[0]), source, share))
    if not found or whole is None:
        return None
    per_token, source, share = min(found)
    if WORTH * per_token > best.seconds_per_token:
        return None
    train = ("train", source, target, "--prompts", "FILE", "--run", "NAME", "--out", "FOLDER")
    return (
        f"{command(*train, catalogs=catalogs)}"
        f"  # {whole / per_token:.2f} times as fast as {target} alone, if {share:.2f} of its tokens are accepted"
    )


def _unjoined(catalog: Catalog, target: str) -> Iterator[str]:
    """Smaller models of the same tokenizer without a head to the target."""
    joined = {head.source for head in catalog.heads if head.target == target}
    whole = catalog.models[target]
    for name, model in catalog.models.items():
        if name in joined or name == target or (model.parameters or 0) >= (whole.parameters or 0):
            continue
        if model.tokenizer is None or model.tokenizer != whole.tokenizer:
            continue
        head = Head.model_construct(source=name, target=target, run="none", from_="none")
        findings = judge_edge(head, pair_of(model, whole, catalog.tokenizers))
        if all(one.status != "fail" for one in findings):
            yield name
