"""Texts of a chain's target, drawn at temperature 1, and what every model makes of them.

q    rows of an edge's source, (texts, n, vocab), for the n tokens said
p    rows of its target
y    a token drawn from q; the target would keep it with probability min(1, p(y) / q(y))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from heads.anatomy import output_rows
from heads.doctor.loading import Patient, Places
from heads.head import AcceptancePredictionHead
from heads.measuring.shares import overlap
from heads.training.labels import branch_hidden, logits_at, require_full_sight
from heads.training.texts import continuations
from heads.training.warper import Warper, drawn, uniform_numbers
from registry.errors import UsageError

TOKENS: Final = 2048  # of all texts together, about: enough to tell one head from another
DRAWS: Final = 3  # of each place, for the heads
MOST_TEXTS: Final = 64  # of one prompt
POSITIONS: Final = (
    4096  # in the cache, of all texts that are drawn together: there is room for as many at least
)
AT_ONCE: Final = 1 << 25  # numbers of one tensor of rows


@dataclass(frozen=True, kw_only=True)
class KnownRows(Warper):
    """Rows over a tokenizer's own ids: a model of more rows never says what has no text."""

    vocab_size: int

    def rows(self, logits: Tensor) -> Tensor:
        """(..., rows) logits -> (..., vocab_size) probabilities."""
        return super().rows(logits[..., : self.vocab_size])


@dataclass
class Reading:
    """One model along all texts. `nats` and `agrees` have one number for each text, the means over its tokens.

    nats: Of the tokens said.
    stray: The probability of rows past the tokenizer's ids.
    agrees: How often the likeliest token is the target's.
    """

    nats: list[Tensor] = field(default_factory=list)
    stray: list[Tensor] = field(default_factory=list)
    agrees: list[Tensor] = field(default_factory=list)


@dataclass
class EdgeReading:
    """Two neighbours along all texts.

    acceptance: One number for each text: the mean of the sum of min(p, q).
    kept: For every drawn token, the probability that it is kept.
    text: Which text each of those is of.
    logits: What heads say of it, by name.
    """

    acceptance: list[Tensor] = field(default_factory=list)
    kept: list[Tensor] = field(default_factory=list)
    text: list[Tensor] = field(default_factory=list)
    logits: dict[str, list[Tensor]] = field(default_factory=dict)


@dataclass
class Readings:
    """What all models made of the texts. `blind` holds the models whose heads cannot be asked, with the reason."""

    texts: int
    tokens: int
    models: dict[str, Reading]
    edges: dict[Places, EdgeReading]
    blind: dict[str, str]


@torch.inference_mode()
def read_texts(
    patient: Patient,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    tokens: int = TOKENS,
    seed: int = 0,
    told: Callable[[], None] = lambda: None,
) -> Readings:
    """Let the target continue every prompt several times, and read all of it with all models.

    Args:
        patient: The chain.
        prompts: Token ids.
        max_new_tokens: Of each text; nothing ends it before.
        tokens: Of all texts together, about.
        seed: Of all draws.
        told: Called after each prompt.
    """
    cascade, count = patient.cascade, len(prompts)
    each = min(max(1, round(tokens / (count * max_new_tokens))), MOST_TEXTS)
    longest = max(map(len, prompts)) + max_new_tokens
    found = Readings(
        texts=each * count,
        tokens=each * count * max_new_tokens,
        models={name: Reading() for name in patient.names},
        edges={(place, place + 1): EdgeReading() for place in range(len(patient.names) - 1)},
        blind=_blind(patient, longest),
    )
    texts = _said(patient, [prompt for prompt in prompts for _ in range(each)], max_new_tokens, seed)
    for number, prompt in enumerate(prompts):
        ids = torch.tensor(texts[each * number : each * (number + 1)], device=cascade.models[-1].device)
        for first, some in _few(ids, max_new_tokens * max(map(output_rows, cascade.models))):
            _read(patient, found, some, start=len(prompt), first=each * number + first, seed=seed)
        told()
    return found


def _said(
    patient: Patient, prompts: Sequence[Sequence[int]], max_new_tokens: int, seed: int
) -> list[list[int]]:
    """What the target says after each of them, prompt included, many at a time."""
    cascade = patient.cascade
    numbers = [uniform_numbers(seed, "text", one, max_new_tokens) for one in range(len(prompts))]
    warper = KnownRows(vocab_size=cascade.vocab_size)
    found: list[list[int]] = []
    together = max(1, POSITIONS // (max(map(len, prompts)) + max_new_tokens))
    for first in range(0, len(prompts), together):
        some = slice(first, first + together)
        found += continuations(
            cascade.models[-1], prompts[some], uniform=torch.stack(numbers[some]), warper=warper
        )
    return found


def _read(patient: Patient, found: Readings, ids: Tensor, *, start: int, first: int, seed: int) -> None:
    """Some texts of one prompt, from their `first`, with all models."""
    cascade = patient.cascade
    said, before = ids[:, start:], slice(start - 1, ids.shape[1] - 1)
    warper = KnownRows(vocab_size=cascade.vocab_size)
    rows: list[Tensor] = []
    for name, model in zip(patient.names, cascade.models, strict=True):
        logits = logits_at(model, ids, before).float()
        reading = found.models[name]
        rows.append(warper.rows(logits))
        likely = torch.gather(rows[-1], -1, said[..., None]).squeeze(-1)
        reading.nats.append(-likely.clamp(min=1e-30).log().mean(dim=-1).cpu())
        stray = torch.softmax(logits, dim=-1)[..., cascade.vocab_size :].sum(dim=-1)
        reading.stray.append(stray.mean(dim=-1).cpu())
    best = rows[-1].argmax(dim=-1)
    for name, row in zip(patient.names, rows, strict=True):
        found.models[name].agrees.append((row.argmax(dim=-1) == best).float().mean(dim=-1).cpu())
    for places, edge in found.edges.items():
        q, p = (rows[place] for place in places)
        edge.acceptance.append(overlap(q, p).mean(dim=-1).cpu())
        if patient.names[places[0]] not in found.blind:
            _ask(patient, edge, (q, p), ids, places=places, start=start, first=first, seed=seed)


def _ask(
    patient: Patient,
    edge: EdgeReading,
    rows: tuple[Tensor, Tensor],
    ids: Tensor,
    *,
    places: Places,
    start: int,
    first: int,
    seed: int,
) -> None:
    """What heads say of drafted tokens: the edge's own, and others that are as wide."""
    heads = asked_heads(patient, places)
    if not heads:
        return
    q, p = rows
    count, length = q.shape[:2]
    for draw in range(DRAWS):
        purpose = f"draft {draw} {places[0]}"
        uniform = torch.stack([uniform_numbers(seed, purpose, first + one, length) for one in range(count)])
        y = drawn(q, uniform)[..., None]
        kept = (p.gather(-1, y) / q.gather(-1, y)).clamp(max=1.0).flatten()
        hidden = branch_hidden(patient.cascade.models[places[0]], ids, y.squeeze(-1), first=start - 1)
        edge.kept.append(kept.cpu())
        edge.text.append(torch.arange(first, first + count).repeat_interleave(length))
        for name, head in heads.items():
            edge.logits.setdefault(name, []).append(head.logit(hidden).flatten().cpu())


def asked_heads(patient: Patient, places: Places) -> dict[str, AcceptancePredictionHead]:
    """The head of an edge, and all others here that read as many numbers; none where the edge has none."""
    own = patient.loaded_head(places)
    if own is None:
        return {}
    others = {patient.heads[at].name: patient.loaded_head(at) for at in patient.heads}
    others |= {name: module for name, (_, module) in patient.rivals.items()}
    return {
        name: head
        for name, head in others.items()
        if head is not None and head.hidden_size == own.hidden_size
    }


def _blind(patient: Patient, longest: int) -> dict[str, str]:
    found = {}
    for name, model in zip(patient.names[:-1], patient.cascade.models, strict=False):
        try:
            require_full_sight(model, longest)
        except UsageError as error:
            found[name] = str(error).partition(":")[0]
    return found


def _few(ids: Tensor, numbers: int) -> Iterator[tuple[int, Tensor]]:
    """As many texts at a time as may be held, each with so many numbers of rows, and the place of the first."""
    count = max(1, AT_ONCE // numbers)
    for first in range(0, len(ids), count):
        yield first, ids[first : first + count]
