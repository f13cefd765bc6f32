"""What the store tells of one setup: never of another, and never of checkpoints that are others now."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

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
    """

    def __init__(
        self, setup: Setup | None, measurements: Sequence[Measurement], fingerprint: FingerprintOf
    ) -> None:
        self.setup = setup
        self._fingerprint = fingerprint
        self._known = {
            (one.kind, one.subject, one.law): one
            for one in measurements
            if setup is not None and one.setup.key == setup.key
        }
        self._read: dict[tuple[Kind, str, str], Any] = {}

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

    def traces(self, models: Sequence[str], law: Law) -> tuple[EdgeTrace, ...] | None:
        """One trace per edge of a chain, along the same texts of its last model; None unless all are there."""
        found = [self.trace(source, target, models[-1], law) for source, target in pairwise(models)]
        whole = tuple(one for one in found if one is not None)
        alike = len({one.texts_key for one in whole}) == 1
        return whole if len(whole) == len(found) and alike else None

    def trace(self, source: str, target: str, text_of: str, law: Law) -> EdgeTrace | None:
        """One edge along texts of a model."""
        subject = trace_subject(source, target, text_of)
        return self._find(EdgeTrace, ("trace", subject, law.key), [source, target, text_of])

    def lengths(self, models: Sequence[str], heads: Sequence[str], law: Law) -> DraftLengths | None:
        """What was found for a chain by running it."""
        return self._find(DraftLengths, ("lengths", chain_subject(models), law.key), models, heads)

    def _find(
        self,
        kind_of: type[Read],
        place: tuple[Kind, str, str],
        models: Sequence[str],
        heads: Sequence[str] | None = None,
    ) -> Read | None:
        """A record, where it is of the checkpoints that are here. `heads` None takes the head that the record names."""
        if place not in self._read:
            self._read[place] = None
            one = self._known.get(place)
            if one is not None:
                document = dict(one.document.get("lengths", {})) if place[0] == "lengths" else one.document
                if heads is None:
                    heads = [one.document["head_name"]] if one.document.get("head_name") else []
                if one.fingerprint == self._fingerprint(models, heads):
                    self._read[place] = kind_of.model_validate_json(json.dumps(document))
        found: Read | None = self._read[place]
        return found


def target_subject(model: str) -> str:
    """What measurements of a model call it in the role of a target."""
    return f"{model} as target"


def edge_subject(source: str, target: str) -> str:
    """What measurements call an edge."""
    return f"{source}{HEAD_SEPARATOR}{target}"


def trace_subject(source: str, target: str, text_of: str) -> str:
    """What measurements call an edge along texts of a model."""
    return f"{edge_subject(source, target)} along {text_of}"


def chain_subject(models: Sequence[str]) -> str:
    """What measurements call a chain."""
    return " -> ".join(models)
