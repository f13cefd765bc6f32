"""Lengths and thresholds for one chain on this machine, searched by running it, from what the plan expects.

The plan's replay names candidates; each decodes a few texts, the fastest of them again with other seeds, and in the end
the best fixed length, the best with heads and `generate`'s own default decode the same texts in turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, Final

from heads.bench.sweep import advised_candidates, best_of, fixed_candidates, tries
from heads.bench.systems import CascadeSystem, Sampling
from heads.cascade import Cascade
from heads.settings import MAX_DRAFT, MIN_DRAFT, THRESHOLD
from registry.planning.choosing import Choice
from registry.planning.lengths import FIXED, DraftLengths

CANDIDATES: Final = 8
SWEPT_PROMPTS: Final = 3
Bar = Callable[[int, str], AbstractContextManager[Callable[[str], None]]]


@dataclass(frozen=True, kw_only=True)
class Tried:
    """Lengths, and tokens per second: the median of the repeats, the lowest and the highest."""

    name: str
    lengths: DraftLengths
    tokens_per_second: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """As it is told and stored."""
        return {
            "settings": self.lengths.settings,
            "tokens_per_second": self.tokens_per_second,
            "low": self.low,
            "high": self.high,
        }


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What was found: `best` is one of the other two or of its own, whichever decoded fastest."""

    best: Tried
    default: Tried
    fixed: Tried

    @property
    def gain(self) -> float:
        """Times as fast as the default."""
        return self.best.tokens_per_second / self.default.tokens_per_second

    @property
    def gain_over_fixed(self) -> float:
        """Times as fast as the best fixed length."""
        return self.best.tokens_per_second / self.fixed.tokens_per_second

    def to_json(self) -> dict[str, Any]:
        """The document of `specreg tune --json`, and what the store keeps."""
        return {
            "lengths": self.best.lengths.model_dump(mode="json"),
            "tuned": self.best.to_json(),
            "default": self.default.to_json(),
            "best_fixed": self.fixed.to_json(),
            "gain_over_default": self.gain,
            "gain_over_best_fixed": self.gain_over_fixed,
        }


def default_lengths(edges: int) -> DraftLengths:
    """What `generate` does where nobody says."""
    return DraftLengths(
        min_draft=(MIN_DRAFT,) * edges, max_draft=(MAX_DRAFT,) * edges, threshold=(THRESHOLD,) * edges
    )


def tune(
    cascade: Cascade,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    expected: Sequence[Choice] = (),
    repeats: int = 3,
    bar: Bar,
) -> Tuning:
    """Search by running.

    Args:
        cascade: The chain, of two models at least.
        prompts: Token ids to continue.
        sampling: How texts are drawn.
        expected: What the plan expects, the fastest first; where it expects nothing, a grid is tried.
        repeats: How often the last three decode every prompt.
        bar: Opens a progress bar of so many steps, called so.
    """
    edges = len(cascade.models) - 1
    finalists = {"default": default_lengths(edges)}
    for name, candidates in _candidates(expected, edges).items():
        if not candidates:
            continue
        system = CascadeSystem(mode=name, cascade=cascade)
        with bar(tries(candidates), f"trying {name} lengths") as told:
            tried = partial(told, "")
            best = best_of(system, candidates, prompts[:SWEPT_PROMPTS], sampling, tried=tried)
        finalists[name] = _lengths(best.settings)
    done = _compared(cascade, prompts, sampling, finalists, repeats=repeats, bar=bar)
    fixed = done["fixed"]
    fastest = max(done.values(), key=lambda one: one.tokens_per_second)
    return Tuning(best=fastest, default=done["default"], fixed=fixed)


def _candidates(expected: Sequence[Choice], edges: int) -> dict[str, list[dict[str, Any]]]:
    """Settings to run: the plan's best few, fixed ones and others apart; else the grids of `bench`."""
    if not expected:
        grids = {"fixed": fixed_candidates(edges), "advised": advised_candidates(edges)}
        return {name: [_lengths(one).settings for one in grid] for name, grid in grids.items()}
    fixed = [one.lengths for one in expected if set(one.lengths.threshold) == {FIXED}]
    others = [one.lengths for one in expected if set(one.lengths.threshold) != {FIXED}]
    return {
        name: [one.settings for one in several[:CANDIDATES]]
        for name, several in {"fixed": fixed, "advised": others}.items()
    }


def _lengths(settings: dict[str, Any]) -> DraftLengths:
    """Of a candidate, whose lists have one value per edge."""
    most = tuple(settings["max_draft"])
    limits = (FIXED,) * len(most) if settings.get("schedule") == "fixed" else tuple(settings["threshold"])
    least = tuple(settings.get("min_draft", (MIN_DRAFT,) * len(most)))
    return DraftLengths(min_draft=least, max_draft=most, threshold=limits)


def _compared(
    cascade: Cascade,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    finalists: dict[str, DraftLengths],
    *,
    repeats: int,
    bar: Bar,
) -> dict[str, Tried]:
    """All of them on every prompt, in turns, in another order each time."""
    names = list(finalists)
    seconds = {name: [0.0] * repeats for name in names}
    tokens = {name: [0] * repeats for name in names}
    with bar(len(names) * len(prompts) * repeats, "comparing") as told:
        for repeat in range(repeats):
            for place, prompt in enumerate(prompts):
                first = (repeat + place) % len(names)
                for name in (*names[first:], *names[:first]):
                    system = CascadeSystem(mode=name, cascade=cascade, settings=finalists[name].settings)
                    run = system.run(prompt, sampling, seed=10_000 + 1000 * repeat + place)
                    seconds[name][repeat] += run.seconds
                    tokens[name][repeat] += len(run.token_ids)
                    told(name)
    found = {}
    for name in names:
        speeds = [count / spent for count, spent in zip(tokens[name], seconds[name], strict=True)]
        found[name] = Tried(
            name=name,
            lengths=finalists[name],
            tokens_per_second=median(speeds),
            low=min(speeds),
            high=max(speeds),
        )
    return found
