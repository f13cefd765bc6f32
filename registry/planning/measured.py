"""What the store tells of one setup: never of another, and never of checkpoints that are others now."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from pydantic import ValidationError

from registry.planning.law import Law
from registry.planning.lengths import DraftLengths
from registry.planning.measurement import Kind, Measurement
from registry.planning.setup import Setup
from registry.planning.timing import ChainTimes, EdgeTimes, ForwardTimes
from registry.planning.trace import EdgeTrace
from registry.records import HEAD_SEPARATOR, Record

FingerprintOf = Callable[[Sequence[str], Sequence[str]], str]
"""Of models and heads, by their names: what a measurement of them is marked with."""

Read = TypeVar("Read", bound=Record)


class Measured:
    """The latest measurements of one setup.

    Args:
        setup: Which; None is one of which nothing is known.
        measurements: Of any setups; the latest of each kind and subject.
        fingerprint: Tells what checkpoints are now.
        device: 'cpu' or 'cuda', as far as it is known without a setup; that of the setup where there is one.
        likest: Of another setup of the same machine and device, whose times are assumed where this one has none.

    Attributes:
        unread: Setup, kind, subject and law of those that were looked for and left out, since their documents are not
            as this version writes them: a later one may tell more.
    """

    def __init__(
        self,
        setup: Setup | None,
        measurements: Sequence[Measurement],
        fingerprint: FingerprintOf,
        *,
        device: str | None = None,
        likest: Measured | None = None,
    ) -> None:
        self.setup = setup
        self.likest = likest
        self.device = device if setup is None else setup.device
        self._fingerprint = fingerprint
        self._known = {
            (one.kind, one.subject, one.law): one
            for one in measurements
            if setup is not None and one.setup.key == setup.key
        }
        self._along: dict[tuple[str, str, str, str], list[str]] = {}
        for (kind, subject, law), one in self._known.items():
            if kind == "trace":
                edge = (str(one.document.get(name)) for name in ("source", "target", "text_of"))
                self._along.setdefault((*edge, law), []).append(subject)  # type: ignore[arg-type]
        self._read: dict[tuple[Kind, str, str, tuple[str, ...] | None], Any] = {}
        self.unread: set[tuple[str, ...]] = set()

    def forwards(self, model: str, *, as_target: bool) -> ForwardTimes | None:
        """What a model's forwards take in that role."""
        subject = target_subject(model) if as_target else model
        return self._find(ForwardTimes, ("forwards", subject, ""), [model], [])

    def rounds(self, source: str, target: str) -> EdgeTimes | None:
        """What an edge's rounds take besides."""
        return self._find(EdgeTimes, ("rounds", edge_subject(source, target), ""), [source, target])

    def chain(self, models: Sequence[str]) -> ChainTimes | None:
        """What a chain's rounds take beside its edges'; known of three models or more."""
        return self._find(ChainTimes, ("chain", chain_subject(models), ""), models, [])

    def traces(
        self, models: Sequence[str], law: Law, heads: Sequence[str] = ()
    ) -> tuple[EdgeTrace, ...] | None:
        """One trace per edge of a chain, along the same texts of its last model; None unless all are there.

        Args:
            models: Smallest first.
            law: Of the texts.
            heads: One per edge, by name: of several traces of an edge the one that heard it is taken.
        """
        edges = [self._edge_traces(*edge, models[-1], law) for edge in pairwise(models)]
        best: tuple[int, tuple[EdgeTrace, ...]] | None = None
        for key in dict.fromkeys(one.texts_key for edge in edges for one in edge):
            alike = [[one for one in edge if one.texts_key == key] for edge in edges]
            if all(alike):
                chosen = tuple(
                    _heard(edge, heads[place] if heads else None) for place, edge in enumerate(alike)
                )
                heard = sum(one.head_name in heads for one in chosen)
                if best is None or heard > best[0]:
                    best = heard, chosen
        return None if best is None else best[1]

    def trace(
        self, source: str, target: str, text_of: str, law: Law, *, head: str | None = None
    ) -> EdgeTrace | None:
        """One edge along texts of a model; of several the one that heard that head, else the first."""
        found = self._edge_traces(source, target, text_of, law)
        return _heard(found, head) if found else None

    def heard(self, source: str, target: str, text_of: str, law: Law) -> set[str]:
        """Heads of an edge, by name, whose answers along texts of a model are known."""
        found = self._edge_traces(source, target, text_of, law)
        return {one.head_name for one in found if one.head_name is not None}

    def lengths(self, models: Sequence[str], heads: Sequence[str], law: Law) -> DraftLengths | None:
        """What was found for a chain with these heads by running it."""
        for subject in (
            lengths_subject(models, heads),
            chain_subject(models),
        ):  # the second as it was kept once
            found = self._find(DraftLengths, ("lengths", subject, law.key), models, heads)
            if found is not None:
                return found
        return None

    def _edge_traces(self, source: str, target: str, text_of: str, law: Law) -> list[EdgeTrace]:
        """All that there are, one for each head that was heard."""
        subjects = self._along.get((source, target, text_of, law.key), ())
        models = [source, target, text_of]
        found = [self._find(EdgeTrace, ("trace", subject, law.key), models) for subject in subjects]
        return [one for one in found if one is not None]

    def _find(
        self,
        kind_of: type[Read],
        place: tuple[Kind, str, str],
        models: Sequence[str],
        heads: Sequence[str] | None = None,
    ) -> Read | None:
        """A record, where it is of the checkpoints that are here. `heads` None takes the head that the record names."""
        read = (*place, None if heads is None else tuple(heads))
        if read not in self._read:
            self._read[read] = None
            one = self._known.get(place)
            if one is not None:
                document = one.document.get("lengths", {}) if place[0] == "lengths" else one.document
                if heads is None:
                    heads = [one.document["head_name"]] if one.document.get("head_name") else []
                if one.fingerprint == self._fingerprint(models, heads):
                    try:
                        self._read[read] = kind_of.model_validate_json(json.dumps(document))
                    except ValidationError:
                        self.unread.add((one.setup.key, *place))
        found: Read | None = self._read[read]
        return found


def target_subject(model: str) -> str:
    """What measurements of a model call it in the role of a target."""
    return f"{model} as target"


def edge_subject(source: str, target: str) -> str:
    """What measurements call an edge."""
    return f"{source}{HEAD_SEPARATOR}{target}"


def trace_subject(source: str, target: str, text_of: str, head: str | None = None) -> str:
    """What measurements call an edge along texts of a model, or its head, by name, where one was heard."""
    return f"{head or edge_subject(source, target)} along {text_of}"


def chain_subject(models: Sequence[str]) -> str:
    """What measurements call a chain."""
    return " -> ".join(models)


def lengths_subject(models: Sequence[str], heads: Sequence[str]) -> str:
    """What measurements call a chain with the very runs of its heads."""
    return f"{chain_subject(models)} by {', '.join(head.rpartition('/')[2] for head in heads)}"


def _heard(traces: Sequence[EdgeTrace], head: str | None) -> EdgeTrace:
    return next((one for one in traces if head is not None and one.head_name == head), traces[0])
