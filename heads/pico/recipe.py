"""How large, how long, how fast: every number of the family's making."""

from __future__ import annotations

from dataclasses import dataclass, replace

from heads.pico.fitting import Schedule

DISTIL_DRAFT = Schedule(minutes=18, rate=4e-3, fall=0.7)
DISTIL_LITTLE = Schedule(minutes=18, rate=5e-3, fall=0.7)


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
class Recipe:
    """The published family's recipe: two hours on two CPU cores."""

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
    draft_layers: tuple[int, ...] = (0, 5, 10, 15)
    draft: Schedule = DISTIL_DRAFT
    little_layers: tuple[int, ...] = (0, 3)
    little: Schedule = DISTIL_LITTLE
    label_length: int = 256
    label_windows: int = 1000
    head_epochs: float = 5.0
    head_rate: float = 2e-3
    judge_windows: int = 200
    prompt_tokens: int = 64
    new_tokens: int = 128
    samples: int = 64

    def scaled(self, factor: float) -> Recipe:
        """The same with all times and counts multiplied: a family for trying the steps out."""
        return replace(
            self,
            stages=tuple(stage.scaled(factor) for stage in self.stages),
            draft=self.draft.scaled(factor),
            little=self.little.scaled(factor),
            label_windows=max(8, round(self.label_windows * factor)),
            samples=max(4, round(self.samples * factor)),
            judge_windows=max(4, round(self.judge_windows * factor)),
        )
