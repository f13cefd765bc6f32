"""What an edge's rounds take besides the forwards of its models: the verdict, its bookkeeping, the head.

A model's forwards are timed while it runs alone. After a forward of a larger model a small one finds the processor's
caches taken: on a CPU its first forward takes as long as two or three, and those after it are longer, too, than they
were alone. So what the times of forwards do not explain is told by drafts of two lengths: a part of it is the round's,
and a part each step's. It is not what a clock in the forwards would leave. Where drafts are made ahead of the host
their steps were timed as such, and all the rest is the round's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, Final

import torch
from torch import Tensor

from heads.bench.timing import UNCOUNTED, median_seconds, timed
from heads.cascade import Cascade
from heads.confidence import confidence
from heads.edge import AcceptanceHead, Edge, outlook_of
from heads.generation import Generation
from heads.measuring.effort import Effort
from heads.measuring.forwards import WAYS, RunLevel, decoding_seconds, some_tokens
from heads.measuring.steps import drafts_ahead, rule_by
from heads.settings import PerEdgeInt
from registry.planning.timing import ForwardTimes

LENGTH: Final = 4  # tokens drafted a round
LENGTHS: Final = (2, 6)  # where steps and rounds are told apart
QUESTIONED: Final = 2  # positions of a text that questions are asked about
BRIEF: Final = 8  # tokens of a text that is over before it has begun


@dataclass(frozen=True)
class RoundSeconds:
    """Of each verification, by 'greedy' and 'sampled', and of each forward of the drafting model."""

    verify: dict[str, float]
    step: float


def round_seconds(
    cascade: Cascade,
    places: tuple[int, int],
    prompt: Sequence[int],
    *,
    times: Sequence[ForwardTimes],
    effort: Effort,
) -> RoundSeconds:
    """What rounds take beside forwards: two models of a chain run, drafting fixed lengths.

    Forwards, drafted tokens and verifications, as a plan counts them, together take what these texts took. So a
    verification is less than nothing where the times explain more than passed; a step never is.

    Args:
        cascade: The chain.
        places: Of the two models in it.
        prompt: Token ids that the texts begin with.
        times: Of both models' forwards, in the roles they have there, and of tokens beside them.
        effort: How many texts, and how long.
    """
    two = cascade.part(places, [None])
    judging = {way: verdict_seconds(cascade, way, effort) for way in WAYS}
    steps: list[float] = []
    rest: list[float] = []
    for length in (LENGTH,) if drafts_ahead(cascade, places[0]) else LENGTHS:
        # a few texts tell it better together than by law: of it only the verdict hangs on that
        found = [
            _unexplained(
                two, prompt, way, times=times, verdict=verdict, length=length, seed=run, effort=effort
            )
            for way, verdict in judging.items()
            for run in range(effort.runs)
        ]
        steps.append(median(count for count, _ in found))
        rest.append(median(seconds for _, seconds in found))
    apart = steps[-1] - steps[0]
    step = max(0.0, (rest[-1] - rest[0]) / apart) if apart > 0 else 0.0
    beside = sum(rest) / len(rest) - step * sum(steps) / len(steps)
    return RoundSeconds(verify={way: seconds + beside for way, seconds in judging.items()}, step=step)


def _unexplained(
    two: Cascade,
    prompt: Sequence[int],
    way: str,
    *,
    times: Sequence[ForwardTimes],
    verdict: float,
    length: int,
    seed: int,
    effort: Effort,
) -> tuple[float, float]:
    """Of a round the drafting model's forwards, and seconds that neither they nor drawing and the verdict explain."""
    brief, whole = brief_and_whole(two, prompt, max_draft=length, seed=seed, law=WAYS[way], effort=effort)
    before, after = (
        out.seconds
        - decoding_seconds(out, times, query=length + 1)
        - out.levels[0].forwards * times[0].drawing(way)
        for out in (brief, whole)
    )
    drafted, rounds = (
        long.forwards - short.forwards for short, long in zip(brief.levels, whole.levels, strict=True)
    )
    return drafted / max(1, rounds), (after - before) / max(1, rounds) - verdict


def brief_and_whole(
    cascade: Cascade,
    prompt: Sequence[int],
    *,
    max_draft: PerEdgeInt,
    seed: int,
    law: Mapping[str, Any],
    effort: Effort,
) -> list[Generation]:
    """A text of a few tokens, and one that goes on: what the prompt takes above its forwards is in both."""
    return [
        cascade.generate(
            list(prompt),
            max_new_tokens=tokens,
            seed=seed,
            max_draft=max_draft,
            schedule="fixed",
            eos_token_id=[],
            **law,
        )
        for tokens in (BRIEF, BRIEF + effort.tokens)
    ]


@torch.inference_mode()
def verdict_seconds(cascade: Cascade, way: str, effort: Effort) -> float:
    """Rows of a proposal and of what the target says of it, and the verdict, read by the host."""
    device = cascade.models[-1].device
    rule = rule_by(way)
    logits = torch.randn(
        LENGTH + 1, cascade.vocab_size, generator=torch.Generator(device).manual_seed(0), device=device
    )
    proposed = torch.zeros(LENGTH, dtype=torch.long, device=device)

    def judge() -> None:
        rows = rule.rows(logits)
        verdict = rule.accept(proposed, rows[:-1], rows)
        torch.stack((verdict.kept, verdict.next_token)).tolist()

    return median_seconds(judge, device, repeats=effort.head)


@torch.inference_mode()
def question_seconds(
    adviser: AcceptanceHead, level: RunLevel, *, vocab_size: int, effort: Effort
) -> dict[str, float]:
    """What it takes to be told of one token of a model whether to draft on, by 'greedy' and 'sampled'.

    Asked of the head, of the model's confidence, or of both, as decoding does, after a forward of the model: that has
    the processor's caches, and a question that follows another one is answered in half the time. A chain that drafts
    ahead of the host asks so above its lowest level only, and there `question_steps` tells.

    Args:
        adviser: The head, as it is asked beside such a level.
        level: Runs the model; its graphs stay, the text goes.
        vocab_size: Of the chain.
        effort: How often.
    """
    device = level.model.device
    found = {}
    level.begin(QUESTIONED)
    try:
        level.feed(some_tokens(level, 1), 1)
        for way in WAYS:
            outlook = outlook_of(adviser, greedy=way == "greedy")
            edge = Edge(head=adviser, min_draft=1, max_draft=1, threshold=0.0, outlook=outlook)
            seconds = []
            for _ in range(effort.head + UNCOUNTED):
                level.rollback(1)
                fed = level.feed(some_tokens(level, 1), 1)
                seconds.append(timed(partial(_asked, edge, fed.hidden, fed.logits[:, :vocab_size]), device))
            found[way] = median(seconds[UNCOUNTED:])
    finally:
        level.end()
    return found


def _asked(edge: Edge, hidden: Tensor, logits: Tensor) -> None:
    if edge.outlook is None:
        edge.kept(hidden, None).tolist()
        return
    sure = confidence(logits)
    if logits.device.type == "cpu":
        logit = edge.logit(hidden)
        if logit is not None:
            logit.tolist()
        sure.tolist()
    else:
        edge.kept(hidden, sure)
        edge.next_kept(sure)
