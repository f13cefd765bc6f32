"""Every edge of a chain along texts of its last model: one pass of each model over each text, and the heads' words.

The mathematics is in `registry.planning.trace`. An edge below the top has a target that is not the text's own model;
`kept_otherwise` then needs the model that refuses what it says. For neighbours that is the next one of the chain; for
a pair that skips models, which would stand directly below the top, it is the chain's last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from heads.cascade import Cascade
from heads.confidence import confidence
from heads.edge import Edge as DraftingEdge
from heads.edge import outlook_of
from heads.engines.forward import Forward
from heads.head import AcceptancePredictionHead
from heads.measuring.shares import kept_otherwise_shares, kept_shares, overlap, refused_rows
from heads.measuring.texts import Text, texts_key
from heads.sampling import warp
from heads.training.labels import branch_hidden, require_full_sight
from heads.training.warper import drawn, uniform_numbers
from registry.errors import UsageError
from registry.planning.law import Law
from registry.planning.trace import EdgeTrace, TextTrace

DIGITS: Final = 6
Places = tuple[int, int]
Heads = Mapping[Places, tuple[str, AcceptancePredictionHead]]


@dataclass(frozen=True)
class _Reading:
    """A model along one text.

    Its rows (n, vocab) for the tokens said, how sure it was at each (n,), and its hidden states (n, hidden) after them.
    """

    rows: Tensor
    confidence: Tensor
    hidden: Tensor


@dataclass
class _Edge:
    """An edge as its texts come."""

    head: tuple[str, AcceptancePredictionHead] | None
    texts: list[TextTrace] = field(default_factory=list)
    agreed: float = 0.0


@torch.inference_mode()
def edge_traces(
    cascade: Cascade,
    heads: Heads,
    texts: Sequence[Text],
    law: Law,
    *,
    seed: int = 0,
    said: Callable[[str], None] = lambda _: None,
    told: Callable[[], None] = lambda: None,
) -> list[EdgeTrace]:
    """Trace every pair of a chain's models, each with a smaller one and a larger one, along texts of the last.

    Args:
        cascade: The chain.
        heads: Name and head of those pairs, by their places, that have one.
        texts: Of the last model, drawn by that law.
        law: How rows are made.
        seed: Of the refused tokens that heads are asked about.
        said: Told where a head cannot be asked.
        told: Called after each text.
    """
    blind = _blind(cascade, heads, texts, said)
    edges = {
        places: _Edge(None if places[0] in blind else heads.get(places))
        for places in combinations(range(len(cascade.models)), 2)
    }
    for number, text in enumerate(texts):
        readings = [
            _reading(model, name, text, law, vocab_size=cascade.vocab_size)
            for model, name in zip(cascade.models, cascade.names, strict=True)
        ]
        for places, edge in edges.items():
            purpose = f"{cascade.names[places[0]]} {cascade.names[places[1]]}"
            uniform = uniform_numbers(seed, purpose, number, len(text.said))
            _trace(cascade, edge, readings, text, places=places, law=law, uniform=uniform)
        told()
    key = texts_key(texts, law)
    tokens = sum(len(text.said) for text in texts)
    return [
        EdgeTrace(
            source=cascade.names[source],
            target=cascade.names[target],
            text_of=cascade.names[-1],
            texts_key=key,
            head_name=None if edge.head is None else edge.head[0],
            acceptance=min(1.0, edge.agreed / tokens),
            texts=tuple(edge.texts),
        )
        for (source, target), edge in edges.items()
    ]


def _trace(
    cascade: Cascade,
    edge: _Edge,
    readings: Sequence[_Reading],
    text: Text,
    *,
    places: Places,
    law: Law,
    uniform: Tensor,
) -> None:
    """Add one text to an edge."""
    source, target = places
    top = len(readings) - 1
    device = readings[top].rows.device
    q, p = (readings[place].rows.to(device) for place in places)
    agreed = overlap(q, p)
    # greedy rows have one token each: it is the same or not, whatever is said in the end
    kept = agreed if law.greedy else kept_shares(q, p, torch.tensor(text.said, device=device))
    otherwise: Tensor | None = None
    if target != top:
        above = readings[target + 1 if target == source + 1 else top].rows.to(device)
        otherwise = agreed if law.greedy else kept_otherwise_shares(q, p, above)
    foreseen: tuple[Tensor, ...] = ()
    if edge.head is not None:
        residual = refused_rows(q, p)
        advised = _advised(edge.head[1], law)
        foreseen = _foreseen(
            cascade.models[source], advised, readings[source], text, residual=residual, uniform=uniform
        )
    edge.agreed += float(agreed.double().sum())
    edge.texts.append(
        TextTrace(
            prompt_tokens=len(text.prompt),
            kept=_numbers(kept),
            kept_otherwise=() if otherwise is None else _numbers(otherwise),
            foreseen_kept=_numbers(foreseen[0]) if foreseen else (),
            foreseen_refused=_numbers(foreseen[1]) if foreseen else (),
            next_foreseen=_numbers(foreseen[2]) if len(foreseen) > 2 else (),
        )
    )


def _advised(head: AcceptancePredictionHead, law: Law) -> DraftingEdge:
    """An edge that decides as it does in decoding."""
    outlook = outlook_of(head, greedy=law.greedy)
    return DraftingEdge(head=head, min_draft=1, max_draft=1, threshold=0.0, outlook=outlook)


def _foreseen(
    model: PreTrainedModel,
    edge: DraftingEdge,
    reading: _Reading,
    text: Text,
    *,
    residual: Tensor,
    uniform: Tensor,
) -> tuple[Tensor, ...]:
    """What is said after each token said, and after one that is proposed in its place and refused.

    With an outlook also what is said of either before it is read.
    """
    kept = edge.kept(reading.hidden, reading.confidence)
    tokens = drawn(residual, uniform.to(residual.device))
    ids = torch.tensor([text.ids], device=reading.hidden.device)
    hidden = branch_hidden(model, ids, tokens[None].to(ids.device), first=len(text.prompt) - 1)[0]
    refused = edge.kept(hidden, reading.confidence)
    possible = (residual.sum(dim=-1) > 0).to(refused.device)
    read = kept, torch.where(possible, refused, kept)
    return read if edge.outlook is None else (*read, edge.next_kept(reading.confidence))


def _reading(model: PreTrainedModel, name: str, text: Text, law: Law, *, vocab_size: int) -> _Reading:
    """One pass over a text, from nothing."""
    forward = Forward(model, name)
    ids = torch.tensor(text.ids, device=forward.device)
    positions = torch.arange(len(ids), device=forward.device)
    logits, hidden = forward(ids, positions, DynamicCache(), rows=len(text.said) + 1)
    rows = warp(
        logits[:-1, :vocab_size],
        temperature=law.temperature,
        top_k=law.top_k,
        top_p=law.top_p,
        min_p=law.min_p,
    )
    return _Reading(rows=rows, confidence=confidence(logits[:-1, :vocab_size]), hidden=hidden[1:])


def _blind(cascade: Cascade, heads: Heads, texts: Sequence[Text], said: Callable[[str], None]) -> set[int]:
    """Places of models whose heads cannot be asked about refused tokens: they see less than a text."""
    longest = max((len(text.ids) for text in texts), default=0)
    found: set[int] = set()
    for place in sorted({source for source, _ in heads}):
        try:
            require_full_sight(cascade.models[place], longest)
        except UsageError:
            found.add(place)
            said(
                f"{cascade.names[place]} sees fewer than {longest} positions back: its heads are not asked about "
                "refused tokens, so that nothing can be planned by them. Shorter prompts would do."
            )
    return found


def _numbers(shares: Tensor) -> tuple[float, ...]:
    return tuple(round(share, DIGITS) for share in shares.tolist())
