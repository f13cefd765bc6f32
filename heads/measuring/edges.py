"""What an edge's rounds take besides the forwards of its models: the verdict, its bookkeeping, the head.

A model's forwards are timed while it runs alone. After a forward of a larger model a small one finds the processor's
caches taken: on a CPU its next few forwards take longer, together by as much as two or three of its own. That does not
hang on how many tokens are drafted, so it is a cost of the round. What a round takes besides is therefore all that the
times of forwards do not explain; it is not what a clock in the forwards would leave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any, Final

import torch
from torch import Tensor

from heads.anatomy import hidden_size
from heads.bench.timing import median_seconds
from heads.cascade import Cascade
from heads.confidence import confidence
from heads.edge import AcceptanceHead, Edge, outlook_of
from heads.generation import Generation
from heads.measuring.effort import Effort
from heads.measuring.forwards import WAYS, decoding_seconds
from heads.measuring.steps import rule_by
from heads.settings import PerEdgeInt
from registry.planning.timing import ForwardTimes

LENGTH: Final = 4  # tokens drafted a round
BRIEF: Final = 2 * LENGTH  # tokens of a text that is over before it has begun


def verify_seconds(
    cascade: Cascade,
    places: tuple[int, int],
    prompt: Sequence[int],
    *,
    times: Sequence[ForwardTimes],
    effort: Effort,
) -> dict[str, float]:
    """What each verification takes, by 'greedy' and 'sampled': two models of a chain run, drafting a fixed length.

    Forwards, drafted tokens and verifications, as a plan counts them, together take what these texts took. So a
    verification is less than nothing where the times explain more than passed.

    Args:
        cascade: The chain.
        places: Of the two models in it.
        prompt: Token ids that the texts begin with.
        times: Of both models' forwards, in the roles they have there, and of tokens beside them.
        effort: How many texts, and how long.
    """
    two = cascade.part(places, [None])
    judging = {way: verdict_seconds(cascade, way, effort) for way in WAYS}
    rest: list[
        float
    ] = []  # a few texts tell it better together than by law: of it only the verdict hangs on that
    for way, law in WAYS.items():
        for run in range(effort.runs):
            brief, whole = brief_and_whole(two, prompt, max_draft=LENGTH, seed=run, law=law, effort=effort)
            unexplained = [
                out.seconds
                - decoding_seconds(out, times, query=LENGTH + 1)
                - out.levels[0].forwards * times[0].drawing(way)
                for out in (brief, whole)
            ]
            rounds = whole.levels[1].forwards - brief.levels[1].forwards
            rest.append((unexplained[1] - unexplained[0]) / max(1, rounds) - judging[way])
    return {way: seconds + median(rest) for way, seconds in judging.items()}


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
    adviser: AcceptanceHead, cascade: Cascade, place: int, effort: Effort
) -> dict[str, float]:
    """What it takes to be told of one token of a model whether to draft on, by 'greedy' and 'sampled'.

    Asked of the head, of the model's confidence, or of both, as decoding does, in the model's dtype and on its device;
    a chain that drafts ahead of the host asks so above its lowest level only, and there `question_steps` tells.
    """
    model = cascade.models[place]
    hidden = torch.zeros(1, hidden_size(model), dtype=model.dtype, device=model.device)
    logits = torch.zeros(1, cascade.vocab_size, dtype=model.dtype, device=model.device)
    found = {}
    for way in WAYS:
        outlook = outlook_of(adviser, greedy=way == "greedy")
        edge = Edge(head=adviser, min_draft=1, max_draft=1, threshold=0.0, outlook=outlook)
        found[way] = median_seconds(partial(_asked, edge, hidden, logits), model.device, repeats=effort.head)
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
