"""What decoding gives back: the text, and what each level did for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from heads.edge import Tally
from heads.level import Level
from heads.stopping import FinishReason


@dataclass(frozen=True, kw_only=True)
class LevelReport:
    """What one level did: forwards (prefill included), tokens handed up, and how many the next level kept.

    The top level hands nothing up: its `proposed` and `accepted` are None. `proposed_at[i]` counts the rounds in
    which it handed up an i-th token, `accepted_at[i]` those in which that was kept. `seconds` is the time of the
    host in the model's forwards, `head_seconds` that in the head above it; an accelerator may still be at work then.
    None where the head was recorded in one piece with all else of a drafting step: nobody can tell its time apart.
    """

    model: str
    forwards: int
    proposed: int | None
    accepted: int | None
    proposed_at: tuple[int, ...] = field(default=(), repr=False)
    accepted_at: tuple[int, ...] = field(default=(), repr=False)
    seconds: float = 0.0
    head_seconds: float | None = 0.0


def report_of(level: Level, tally: Tally | None) -> LevelReport:
    """What a level did, and what came of what it handed up; no tally is the top level's."""
    if tally is None:
        return LevelReport(
            model=level.name, forwards=level.forwards, proposed=None, accepted=None, seconds=level.seconds
        )
    return LevelReport(
        model=level.name,
        forwards=level.forwards,
        proposed=tally.proposed,
        accepted=tally.accepted,
        proposed_at=tuple(tally.proposed_at),
        accepted_at=tuple(tally.accepted_at),
        seconds=level.seconds,
        head_seconds=None if tally.head_recorded else tally.head_seconds,
    )


@dataclass(frozen=True, kw_only=True)
class Generation:
    """A decoded text.

    token_ids: The new tokens, an end token included.
    text: Those tokens decoded, special tokens left out; a stop string stays, as does the rest of the token
        that completes it. None without a tokenizer.
    finish_reason: 'eos', 'stop', or 'length' when max_new_tokens was reached.
    seconds: From the first forward to the last token, prefill included.
    levels: Smallest model first.
    """

    token_ids: list[int] = field(repr=False)
    text: str | None
    finish_reason: FinishReason
    seconds: float
    prompt_tokens: int
    levels: tuple[LevelReport, ...]

    @property
    def new_tokens(self) -> int:
        """How many tokens are new."""
        return len(self.token_ids)

    @property
    def tokens_per_second(self) -> float:
        """New tokens per second of decoding; 0 where no time passed."""
        return self.new_tokens / self.seconds if self.seconds > 0 else 0.0
