"""How a text was drafted: lengths and thresholds, where they come from, and what decided within them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from registry.planning.lengths import FIXED, DraftLengths

if TYPE_CHECKING:
    from registry.pipeline import Pipeline

Origin: TypeAlias = Literal["default", "option", "planned", "tuned"]


@dataclass(frozen=True, kw_only=True)
class DraftedEdge:
    """One edge. `head` is the name of the one that was asked; `numbers` says what decided, None where nothing did."""

    source: str
    target: str
    head: str | None
    numbers: str | None


@dataclass(frozen=True, kw_only=True)
class Drafted:
    """What one text was drafted with, smallest edge first."""

    schedule: str
    origin: Origin
    lengths: DraftLengths
    edges: tuple[DraftedEdge, ...]

    @classmethod
    def of(
        cls,
        pipeline: Pipeline,
        heads: Sequence[Any],
        lengths: DraftLengths,
        *,
        schedule: str,
        origin: Origin,
        greedy: bool,
    ) -> Drafted:
        """Of a text that a pipeline's models and heads, loaded, drafted with these lengths."""
        return cls(
            schedule=schedule,
            origin=origin,
            lengths=lengths,
            edges=tuple(
                DraftedEdge(
                    source=one.source,
                    target=one.target,
                    head=one.name if _asks(schedule, head, limit) else None,
                    numbers=_numbers(schedule, head, limit, greedy=greedy),
                )
                for one, head, limit in zip(pipeline.heads, heads, lengths.threshold, strict=True)
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """The entry "drafting" of `specreg decode --json`; a threshold is null where nothing was asked."""
        values = zip(
            self.edges, self.lengths.min_draft, self.lengths.max_draft, self.lengths.threshold, strict=True
        )
        return {
            "schedule": self.schedule,
            "from": self.origin,
            "edges": [
                {
                    "source": edge.source,
                    "target": edge.target,
                    "min_draft": least,
                    "max_draft": most,
                    "threshold": None if edge.numbers is None else limit,
                    "head": edge.head,
                    "numbers": edge.numbers,
                }
                for edge, least, most, limit in values
            ],
        }

    def __str__(self) -> str:
        """For people: lengths and their origin; which heads were asked, and by what numbers they decide."""
        told = str(self.lengths)
        if self.schedule == "heuristic":
            told = ", ".join(f"up to {most}" for most in self.lengths.max_draft) + ", by what was kept"
        heads = [f"{edge.head} ({edge.numbers})" for edge in self.edges if edge.head is not None]
        if self.schedule == "confidence":
            told += ", by the models' confidence"
        return f"lengths: {told} ({self.origin})" + (f"; heads: {', '.join(heads)}" if heads else "")


def _asks(schedule: str, head: Any, limit: float) -> bool:
    """Whether a head decides on an edge."""
    return head is not None and schedule in {"heads", "top-head"} and limit < FIXED


def _numbers(schedule: str, head: Any, limit: float, *, greedy: bool) -> str | None:
    """What decides: raw numbers, as the published rule has it, calibrated ones, or a model's confidence too."""
    if schedule == "confidence" and limit < FIXED:
        return "the model's confidence"
    if not _asks(schedule, head, limit):
        return None
    if head.calibration is None:
        return "raw"
    outlook = head.calibration.outlook(greedy=greedy)
    if outlook is None:
        return "calibrated"
    if not outlook.head:
        return "calibrated, and not asked: the model's confidence tells as much"
    return "calibrated, with the model's confidence"
