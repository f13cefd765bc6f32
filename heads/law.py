"""The law that the options of a generation ask for: how rows are made, drawn from and verified."""

from __future__ import annotations

from heads.adjusting import Adjustment, RepetitionPenalty, SharedNoise
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
