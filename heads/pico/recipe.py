"""How large, how long, how fast: every number of the family's making."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from heads.pico.fitting import Schedule

RUN: Final = "exp-weight6-layer3"
DISTIL_DRAFT = Schedule(minutes=20, rate=4e-3, fall=0.5)
DISTIL_LITTLE = Schedule(minutes=16, rate=5e-3, fall=0.5)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The target at one depth."""

    layers: int
    library_share: float
    schedule: Schedule

    def scaled(self, factor: float) -> Stage:
        """The same for another time."""
        return replace(self, schedule=self.schedule.scaled(factor))


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How much text a head learns from, in windows, and how often it sees it.

    The nearer a source is to its target, the rarer is a rejection it could foresee, and the more text it takes.
    """

    windows: int
    epochs: float

    def scaled(self, factor: float) -> Lesson:
        """The same with another amount of text."""
        return replace(self, windows=max(8, round(self.windows * factor)))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The published family's recipe: two and a half hours on two CPU cores."""

    family: str = "pico"
    seed: int = 0
    width: int = 192
    inner: int = 512
    attention_heads: int = 3
    positions: int = 1024
    length: int = 512
    stages: tuple[Stage, ...] = (
        Stage(layers=4, library_share=0.2, schedule=Schedule(minutes=8, rate=6e-3, fall=0.25)),
        Stage(layers=8, library_share=0.2, schedule=Schedule(minutes=12, rate=5e-3, fall=0.25)),
        Stage(layers=16, library_share=0.4, schedule=Schedule(minutes=48, rate=4e-3, fall=0.6)),
    )
    distil_library_share: float = 0.4
    foresight: float = 0.3
    draft_layers: tuple[int, ...] = (0, 5, 10, 15)
    draft: Schedule = DISTIL_DRAFT
    little_layers: tuple[int, ...] = (0, 3)
    little: Schedule = DISTIL_LITTLE
    label_length: int = 256
    little_to_draft: Lesson = Lesson(windows=4000, epochs=4.0)
    draft_to_target: Lesson = Lesson(windows=5000, epochs=4.0)
    little_to_target: Lesson = Lesson(windows=2000, epochs=5.0)
    head_rate: float = 2e-3
    judge_windows: int = 200
    prompt_tokens: int = 64
    new_tokens: int = 128
    samples: int = 64

    def lesson(self, source: str, target: str) -> Lesson:
        """That of the head from one of the three models to another."""
        found: Lesson = getattr(self, f"{source}_to_{target}".replace(f"{self.family}-", ""))
        return found

    @property
    def models(self) -> tuple[str, str, str]:
        """In the order they are made: target, draft, little."""
        return f"{self.family}-target", f"{self.family}-draft", f"{self.family}-little"

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """Source and target of each head."""
        target, draft, little = self.models
        return (little, draft), (draft, target), (little, target)

    def scaled(self, factor: float) -> Recipe:
        """The same with all times and counts multiplied: a family for trying the steps out."""
        return replace(
            self,
            stages=tuple(stage.scaled(factor) for stage in self.stages),
            draft=self.draft.scaled(factor),
            little=self.little.scaled(factor),
            little_to_draft=self.little_to_draft.scaled(factor),
            draft_to_target=self.draft_to_target.scaled(factor),
            little_to_target=self.little_to_target.scaled(factor),
            samples=max(4, round(self.samples * factor)),
            judge_windows=max(4, round(self.judge_windows * factor)),
        )


LARGE: Final = Recipe(
    family="nano",
    width=1024,
    inner=2816,
    attention_heads=16,
    stages=(
        Stage(layers=6, library_share=0.2, schedule=Schedule(minutes=0.8, rate=2e-3, batch=32, fall=0.25)),
        Stage(layers=12, library_share=0.2, schedule=Schedule(minutes=0.9, rate=2e-3, batch=32, fall=0.25)),
        Stage(layers=24, library_share=0.4, schedule=Schedule(minutes=3.3, rate=1.5e-3, batch=32)),
    ),
    draft_layers=(0, 8, 15, 23),
    draft=Schedule(minutes=1.0, rate=2e-3, batch=32),
    little_layers=(0, 3),
    little=Schedule(minutes=0.7, rate=2e-3, batch=32),
    little_to_draft=Lesson(windows=1000, epochs=3.0),
    draft_to_target=Lesson(windows=1000, epochs=3.0),
    little_to_target=Lesson(windows=1000, epochs=3.0),
    judge_windows=100,
)
"""A target of 310 million parameters, with a draft and a little model of it: under ten minutes of one large GPU."""

SIZES: Final = {"embedded": Recipe(), "large": LARGE}
