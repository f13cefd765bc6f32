"""What a step of drafting ahead of the host takes: the host's work or the device's, whichever is longer.

Neither the forwards of a model nor a text that it decodes alone tell of it. For a tiny model the host takes as long to
launch a step, its row, its draw and its question included, as the device to do it; and where a model decodes alone the
host waits for every token. So drafts of two lengths are timed, to the end of what their device was asked for: what the
longer one takes more are its further steps.

A plan adds forwards, drafted tokens and rounds. What rounds take besides is found by taking the same sum off texts that
were timed, so of these it foresees what they took, whatever a step is taken for; the step decides how a round grows
with its draft.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Final, TypeVar

import torch

from heads.bench.timing import timed
from heads.cascade import Cascade
from heads.drafting import draft_ahead
from heads.edge import AcceptanceHead, Edge, Tally, outlook_of
from heads.engines.captured import CapturedLevel
from heads.measuring.effort import Effort
from heads.measuring.forwards import WAYS, RunLevel, caches, some_tokens
from heads.sampling import Greedy, Rule, Seeded, Warped

REHEARSED: Final = 8  # drafts, until what is made at the first ones is made and their pace is found
STEPS: Final = (2, 8)  # near enough to each other to share what is recorded for drafts
NEVER: Final = math.nextafter(1.0, 0.0)  # a threshold: the edge asks, and no answer stops the draft

Kind = TypeVar("Kind", str, tuple[str, bool])


def drafts_ahead(cascade: Cascade, place: int) -> bool:
    """Whether a chain that begins with this model of a cascade drafts ahead of the host."""
    return cascade.part([place]).ahead


def rule_by(way: str) -> Rule:
    """How tokens are drawn: 'greedy' or 'sampled'."""
    return Greedy() if way == "greedy" else Warped(Seeded(0), temperature=1.0)


def draft_steps(level: RunLevel, *, vocab_size: int, effort: Effort) -> dict[str, float]:
    """Seconds of a step, forward included, of a draft that nothing stops, by 'greedy' and 'sampled'.

    Nothing of a model that has no room for such a draft.

    Args:
        level: Runs the model as it runs below others.
        vocab_size: Of the chain.
        effort: How often drafts are timed.
    """
    drafts = {way: (rule_by(way), _unasked()) for way in WAYS}
    return step_seconds(level, drafts, vocab_size=vocab_size, effort=effort)


def question_steps(
    level: RunLevel, adviser: AcceptanceHead, *, vocab_size: int, effort: Effort
) -> dict[str, float]:
    """What a step takes more that asks whether to draft on, by 'greedy' and 'sampled'.

    Drafts with the question and without it are timed in turns. A step may seem to take less by it.
    """
    drafts: dict[tuple[str, bool], tuple[Rule, Edge]] = {}
    for way in WAYS:
        asking = Edge(
            head=adviser,
            min_draft=1,
            max_draft=max(STEPS),
            threshold=NEVER,
            outlook=outlook_of(adviser, greedy=way == "greedy"),
        )
        drafts |= {(way, asks): (rule_by(way), asking if asks else _unasked()) for asks in (False, True)}
    found = step_seconds(level, drafts, vocab_size=vocab_size, effort=effort)
    return {way: found[way, True] - found[way, False] for way in WAYS} if found else {}


def _unasked() -> Edge:
    return Edge(head=None, min_draft=1, max_draft=max(STEPS), threshold=1.0)


@torch.inference_mode()
def step_seconds(
    level: RunLevel, drafts: Mapping[Kind, tuple[Rule, Edge]], *, vocab_size: int, effort: Effort
) -> dict[Kind, float]:
    """Seconds of one step of each kind of draft over the short cache; none of a model that has no room for it.

    Args:
        level: The model; its graphs stay, the text goes.
        drafts: How each kind draws, and what it asks.
        vocab_size: Of the chain.
        effort: How often, and for how long.
    """
    cached = next(iter(caches(level)), 0)
    if not cached:
        return {}
    longest = cached + max(STEPS)
    if isinstance(level, CapturedLevel):
        level.warm_up(longest, (1,))
    level.begin(longest)
    try:
        level.feed(some_tokens(level, cached), 1)
        works = {
            kind: [partial(_draft, level, count, rule, edge, vocab_size) for count in STEPS]
            for kind, (rule, edge) in drafts.items()
        }
        return _in_turns(works, level.model.device, effort)
    finally:
        level.end()


def _in_turns(
    works: Mapping[Kind, Sequence[Callable[[], None]]], device: torch.device, effort: Effort
) -> dict[Kind, float]:
    """Of each kind what a step takes, by its short draft and its long one: the median of several turns."""
    for both in works.values():
        for work in both:
            for _ in range(REHEARSED):
                work()
    found: dict[Kind, list[float]] = {kind: [] for kind in works}
    spent, most = 0.0, effort.seconds * len(works)
    for _ in range(effort.head):
        for kind, both in works.items():
            few, many = (timed(work, device) for work in both)
            found[kind].append((many - few) / (max(STEPS) - min(STEPS)))
            spent += few + many
        if spent >= most:
            break
    return {kind: median(several) for kind, several in found.items()}


def _draft(level: RunLevel, steps: int, rule: Rule, edge: Edge, vocab_size: int) -> None:
    """One draft; the text is as before then."""
    before = level.length
    draft_ahead(
        level,
        some_tokens(level, 1),
        edge=edge,
        tally=Tally(),
        steps=steps,
        rule=rule,
        end_tokens=frozenset(),
        vocab_size=vocab_size,
    )
    level.rollback(before)
