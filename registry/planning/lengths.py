"""How long each level of a chain drafts: the options of `generate` that say so."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from registry.records import Record

FIXED = 1.0


class DraftLengths(Record):
    """One value per edge, smallest edge first. A threshold of 1 drafts `max_draft` tokens and asks no head."""

    min_draft: tuple[Annotated[int, Field(gt=0)], ...]
    max_draft: tuple[Annotated[int, Field(gt=0)], ...]
    threshold: tuple[Annotated[float, Field(ge=0, le=1)], ...]

    @classmethod
    def fixed(cls, *lengths: int) -> DraftLengths:
        """So many tokens each round."""
        return cls(min_draft=(1,) * len(lengths), max_draft=lengths, threshold=(FIXED,) * len(lengths))

    @property
    def settings(self) -> dict[str, Any]:
        """As `generate` takes them; nothing for a model alone."""
        if not self.max_draft:
            return {}
        return {name: list(values) for name, values in self.model_dump().items()}

    def __str__(self) -> str:
        """For people: lengths, with the threshold where a head decides.

        >>> str(DraftLengths(min_draft=(1, 1, 2), max_draft=(3, 8, 8), threshold=(1.0, 0.4, 0.3)))
        '3, up to 8 at 0.4, 2 to 8 at 0.3'
        """
        every = zip(self.min_draft, self.max_draft, self.threshold, strict=True)
        return ", ".join(_told(least, most, limit) for least, most, limit in every)


def _told(least: int, most: int, limit: float) -> str:
    if limit == FIXED:
        return str(most)
    return f"{'up' if least == 1 else least} to {most} at {limit:g}"
