"""A chain loaded as far as it can be: what cannot is told, and the rest is looked at without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from heads.anatomy import hidden_size, output_rows
from heads.cascade import Cascade
from heads.doctor.check import Check
from heads.doctor.remedy import put_right
from heads.engines.choice import read_engine
from heads.head import AcceptancePredictionHead
from heads.models import load_registered_model, load_registered_tokenizer
from heads.placement import NO_LENGTH, chain_memory, require_room
from heads.runtime import dtype_named, load_registered_head, no_bars, placement_named
from heads.settings import MAX_DRAFT
from registry.chains import Chain
from registry.command import chosen, command
from registry.errors import CheckpointError, IncompatibleError, NotInstalledError, RollbackError
from registry.pipeline import Pipeline
from registry.records import Head, Model
from registry.shelf import Shelf

MOST_RIVALS: Final = 8
Places = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Patient:
    """A chain as it was loaded.

    `cascade` has the models that could be loaded, and their heads. `heads` holds the records of those, by the places of
    their models. `rivals` are heads of other edges that read as many numbers as the source of an edge gives. `options`
    are those that it was looked at with, by name; one that takes no value has an empty one.
    """

    shelf: Shelf
    cascade: Cascade
    tokenizer: PreTrainedTokenizerBase
    models: tuple[Model, ...]
    heads: dict[Places, Head]
    rivals: dict[str, tuple[Head, AcceptancePredictionHead]]
    options: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the models, smallest first."""
        return self.cascade.names

    @property
    def bare(self) -> str:
        """Which edges are without a head, as the end of a sentence; empty where each has one.

        Such a chain drafts a fixed length there, and what it does is not what `decode` would do.
        """
        edges = [
            ends for place, ends in enumerate(pairwise(self.names)) if (place, place + 1) not in self.heads
        ]
        told = " and ".join(f"from {source} to {target}" for source, target in edges)
        return f", without a head {told}" if edges else ""

    def again(self, **changes: str) -> str:
        """What looks at this chain again, with some options changed."""
        return self._command("doctor", self.options | changes)

    @property
    def measuring(self) -> str:
        """What measures this chain in this setup."""
        return self._command(
            "measure", {name: value for name, value in self.options.items() if name != "chat"}
        )

    def _command(self, name: str, options: Mapping[str, str]) -> str:
        words = [
            word
            for option, value in options.items()
            for word in (f"--{option.replace('_', '-')}", value)
            if word
        ]
        return command(name, *chosen(self.names), *words, catalogs=self.shelf.given)

    def loaded_head(self, places: Places) -> AcceptancePredictionHead | None:
        """The head of two neighbours."""
        return self.cascade.heads[places[0]]


def load_patient(
    shelf: Shelf,
    chain: Chain,
    misfits: Iterable[str],
    *,
    device: str | None,
    dtype: str | None,
    engine: str | None,
    positions: int | None = None,
    options: Mapping[str, str] | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> tuple[Patient | None, list[Check]]:
    """Load what can be loaded.

    Args:
        shelf: Catalog and places.
        chain: Its models and heads.
        misfits: Names of heads that are left out, for a reason that was told.
        device, dtype, engine: As for decoding.
        positions: Of the longest text, prompt included.
        options: What else was asked with, for suggested commands to repeat.
        told: Called with the name of what comes next.

    Returns:
        The patient, None where its target or nothing below it can be loaded; and what is to be told.

    Raises:
        UsageError: No such device, dtype or engine here, or no room.
    """
    asked, placement = read_engine(engine), placement_named(device, None)
    kind = dtype_named(dtype, placement.first)
    left_out = set(misfits)
    wanted = [
        head
        for head in chain.heads
        if head.name not in left_out and shelf.head_place(head).folder is not None
    ]
    whole = Pipeline(Chain.model_construct(models=chain.models, heads=tuple(wanted)), shelf)
    with suppress(CheckpointError, NotInstalledError):  # loading says of each file what is wrong with it
        require_room(
            chain_memory(
                whole, placement, dtype=kind, engine=asked, positions=positions, max_draft=2 * MAX_DRAFT
            ),
            remedies=NO_LENGTH,
        )
    checks: list[Check] = []
    models: dict[str, tuple[Model, PreTrainedModel]] = {}
    tokenizer: PreTrainedTokenizerBase | None = None
    try:
        tokenizer = load_registered_tokenizer(shelf, chain.models[-1])
    except CheckpointError as error:
        checks.append(_not_loaded(shelf, chain.models[-1], error))
    for model in chain.models:
        told(model.alias)
        try:
            with no_bars():
                loaded = load_registered_model(shelf, model, device=placement.first, dtype=kind)
        except CheckpointError as error:
            checks.append(_not_loaded(shelf, model, error))
            continue
        if tokenizer is None or output_rows(loaded) >= len(tokenizer):  # else its vocabulary was told of
            models[model.alias] = model, loaded
    if tokenizer is None or chain.models[-1].alias not in models:
        return None, checks
    heads: dict[Places, Head] = {}
    modules: list[AcceptancePredictionHead | None] = []
    for place, ends in enumerate(pairwise(models)):
        head = next((one for one in wanted if (one.source, one.target) == ends), None)
        module = None
        if head is not None:
            module = _head(shelf, head, models[ends[0]][1], placement.first, checks)
        if head is not None and module is not None:
            heads[place, place + 1] = head
        modules.append(module)
    try:
        cascade = Cascade(
            [loaded for _, loaded in models.values()], modules, tokenizer, names=tuple(models), engine=asked
        )
    except (IncompatibleError, RollbackError) as error:
        checks.append(Check(check="loading", subject=" -> ".join(models), status="fault", found=str(error)))
        return None, checks
    patient = Patient(
        shelf=shelf,
        cascade=cascade,
        tokenizer=tokenizer,
        models=tuple(model for model, _ in models.values()),
        heads=heads,
        rivals={},
        options=dict(options or {}),
    )
    return replace(patient, rivals=_rivals(patient, placement.first)), checks


def _not_loaded(shelf: Shelf, model: Model, error: CheckpointError) -> Check:
    return Check(
        check="loading",
        subject=model.alias,
        status="fault",
        found="; ".join(error.problems) or str(error),
        cause="no record, or files that are not what it says",
        next=put_right(shelf, model),
    )


def _head(
    shelf: Shelf,
    head: Head,
    source: PreTrainedModel,
    device: torch.device,
    checks: list[Check],
) -> AcceptancePredictionHead | None:
    """The head, where it can be asked about its source."""
    try:
        module = load_registered_head(shelf, head).to(device)
    except CheckpointError as error:
        problem = "; ".join(error.problems) or str(error)
        cause = "no record, or files that are not what it says"
    else:
        if module.hidden_size == hidden_size(source):
            return module
        problem = f"it reads {module.hidden_size} numbers, and {head.source} gives {hidden_size(source)}"
        cause = "a wrong head: it was trained on the hidden states of another model"
    checks.append(
        Check(
            check="loading",
            subject=head.name,
            status="fault",
            found=problem,
            cause=cause,
            next=put_right(shelf, head),
        )
    )
    return None


def _rivals(patient: Patient, device: torch.device) -> dict[str, tuple[Head, AcceptancePredictionHead]]:
    """Heads of other edges around these models that are here, and are as wide as one of the sources."""
    shelf, names = patient.shelf, set(patient.names)
    mine = {(head.source, head.target) for head in patient.heads.values()}
    widths = {head.hidden_size for head in patient.cascade.heads if head is not None}
    found: dict[str, tuple[Head, AcceptancePredictionHead]] = {}
    for head in shelf.catalog.heads:
        stated = shelf.catalog.models[head.source].hidden_size
        if (head.source, head.target) in mine or not {head.source, head.target} & names:
            continue
        if stated not in {None, *widths} or len(found) == MOST_RIVALS:
            continue
        with suppress(CheckpointError, NotInstalledError):  # another edge's faults are not this chain's
            module = load_registered_head(shelf, head)
            if module.hidden_size in widths:
                found[head.name] = head, module.to(device)
    return found
