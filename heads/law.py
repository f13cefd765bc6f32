"""What the options of a generation ask for: how rows are made, drawn from and verified, and how long is drafted."""

from __future__ import annotations

from collections.abc import Sequence

from heads.adjusting import Adjustment, RepetitionPenalty, SharedNoise
from heads.confidence import BY_CONFIDENCE
from heads.edge import AcceptanceHead, Edge, outlook_of
from heads.sampling import Greedy, Rule, Seeded, Warped
from heads.settings import Settings


def rule_of(settings: Settings) -> Rule:
    """Greedy at temperature 0, and where shared noise has already chosen each row's token."""
    if settings.temperature == 0 or settings.shared_noise:
        return Greedy()
    return Warped(
        Seeded(settings.seed),
        temperature=settings.temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
        min_p=settings.min_p,
    )


def adjustments_of(settings: Settings) -> list[Adjustment]:
    """What is done to logits first, in the order transformers does it."""
    found: list[Adjustment] = []
    if settings.repetition_penalty != 1:
        found.append(RepetitionPenalty(settings.repetition_penalty))
    if settings.shared_noise and settings.temperature > 0:
        found.append(
            SharedNoise(
                settings.seed,
                temperature=settings.temperature,
                top_k=settings.top_k,
                top_p=settings.top_p,
                min_p=settings.min_p,
            )
        )
    return found


def edges_of(settings: Settings, advisers: Sequence[AcceptanceHead | None]) -> list[Edge]:
    """How long each level drafts, smallest edge first, by the head there is or by its own confidence."""
    greedy = settings.temperature == 0
    return [
        Edge(
            head=None if settings.confident else head,
            min_draft=least,
            max_draft=most,
            threshold=threshold,
            heuristic=settings.heuristic,
            outlook=BY_CONFIDENCE if settings.confident else outlook_of(head, greedy=greedy),
        )
        for head, least, most, threshold in zip(
            advisers, settings.min_draft, settings.max_draft, settings.threshold, strict=True
        )
    ]
