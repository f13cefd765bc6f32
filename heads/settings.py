"""The options of `generate`, read once: what is out of range is refused by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Final, TypeVar

from registry.errors import GenerationError
from registry.planning.lengths import FIXED, DraftLengths

MAX_SEED: Final = 2**63 - 1
LEAST_TEMPERATURE: Final = 2.0**-126  # float32's smallest normal number: a smaller one may count as 0

SCHEDULES: Final = ("heads", "fixed", "heuristic", "top-head", "confidence")
MAX_NEW_TOKENS: Final = 64  # where nobody says, as all that follows
MIN_DRAFT: Final = 1
MAX_DRAFT: Final = 8
THRESHOLD: Final = 0.5
LENGTHS: Final = ("schedule", "min_draft", "max_draft", "threshold")  # options that say how long to draft
RAW: Final = (str, bytes, bytearray, memoryview)  # sequences, too, but nobody means a list of numbers by them

PerEdgeInt = int | Sequence[int]
PerEdgeFloat = float | Sequence[float]
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options in range; min_draft, max_draft and threshold hold one value per edge, smallest edge first.

    The schedule has gone into the thresholds, but for 'heuristic' and 'confidence'.
    """

    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    seed: int
    shared_noise: bool
    heuristic: bool
    confident: bool
    min_draft: tuple[int, ...]
    max_draft: tuple[int, ...]
    threshold: tuple[float, ...]
    stop: tuple[str, ...]


def read_settings(
    *,
    edges: int,
    max_new_tokens: int = MAX_NEW_TOKENS,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    seed: int = 0,
    shared_noise: bool = False,
    schedule: str = "heads",
    min_draft: PerEdgeInt = MIN_DRAFT,
    max_draft: PerEdgeInt = MAX_DRAFT,
    threshold: PerEdgeFloat = THRESHOLD,
    stop: str | Sequence[str] | None = None,
) -> Settings:
    """Check the options of a cascade with that many edges; what is left out is `generate`'s default.

    Raises:
        GenerationError: an option is out of range; its fields name it.
    """
    least = per_edge("min_draft", min_draft, edges, int)
    most = per_edge("max_draft", max_draft, edges, int)
    limits = per_edge("threshold", threshold, edges, float)
    for name, values in (("min_draft", least), ("max_draft", most)):
        for value in values:
            _require(value >= 1, name, "at least 1", value)
    for low, high in zip(least, most, strict=True):
        _require(low <= high, "min_draft", f"at most max_draft, which is {high}", low)
    for limit in limits:
        _require(0 <= limit <= 1, "threshold", "between 0 and 1", limit)
    known = isinstance(schedule, str) and schedule in SCHEDULES
    _require(known, "schedule", "one of " + ", ".join(SCHEDULES), schedule)
    if schedule in {"fixed", "heuristic"}:
        limits = (FIXED,) * edges
    elif schedule == "top-head":
        limits = (FIXED,) * (edges - 1) + limits[-1:]
    settings = Settings(
        max_new_tokens=read_count("max_new_tokens", max_new_tokens),
        temperature=_real("temperature", temperature),
        top_k=_integer("top_k", top_k),
        top_p=_real("top_p", top_p),
        min_p=_real("min_p", min_p),
        repetition_penalty=_real("repetition_penalty", repetition_penalty),
        seed=_integer("seed", seed),
        shared_noise=read_flag("shared_noise", shared_noise),
        heuristic=schedule == "heuristic",
        confident=schedule == "confidence",
        min_draft=least,
        max_draft=most,
        threshold=limits,
        stop=_stops(stop),
    )
    _require(settings.temperature >= 0, "temperature", "0 (greedy) or more", temperature)
    _require(
        settings.temperature == 0 or settings.temperature >= LEAST_TEMPERATURE,
        "temperature",
        f"0 (greedy) or at least {LEAST_TEMPERATURE:.3g}, the smallest that float32 can divide by",
        temperature,
        next_step="Give 0: at such a temperature, too, the most probable token is drawn.",
    )
    _require(settings.top_k >= 0, "top_k", "0 (all tokens) or more", top_k)
    _require(0 < settings.top_p <= 1, "top_p", "more than 0 and at most 1", top_p)
    _require(0 <= settings.min_p <= 1, "min_p", "between 0 (all tokens) and 1", min_p)
    _require(
        settings.repetition_penalty > 0, "repetition_penalty", "more than 0; 1 is none", repetition_penalty
    )
    _require(0 <= settings.seed <= MAX_SEED, "seed", "between 0 and 2**63 - 1", seed)
    return settings


def lengths_of(options: Mapping[str, Any], *, edges: int) -> DraftLengths:
    """What options of `generate` say of how long to draft, one value per edge. Raises GenerationError."""
    read = read_settings(edges=edges, **{name: options[name] for name in LENGTHS if name in options})
    return DraftLengths(min_draft=read.min_draft, max_draft=read.max_draft, threshold=read.threshold)


def per_edge(option: str, value: object, edges: int, kind: type[_Number]) -> tuple[_Number, ...]:
    """One number for each edge, given as one for all or as a list.

    Raises:
        GenerationError: it is neither.
    """
    read = _integer if kind is int else _real
    if isinstance(value, Sequence) and not isinstance(value, RAW):
        _require(len(value) == edges, option, f"one value or a list of {edges}, one per edge", value)
        return tuple(kind(read(option, each)) for each in value)
    return (kind(read(option, value)),) * edges


def _integer(option: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):  # numpy's are integers, too
        raise GenerationError(option=option, expected="an integer", found=value)
    return int(value)


def _real(option: str, value: object) -> float:
    if not isinstance(value, bool) and isinstance(value, Real):
        with suppress(OverflowError):  # an integer may be larger than any other number
            number = float(value)
            if math.isfinite(number):
                return number
    raise GenerationError(option=option, expected="a finite number", found=value)


def read_count(option: str, value: object) -> int:
    """An integer of at least 1. Raises GenerationError."""
    count = _integer(option, value)
    _require(count >= 1, option, "at least 1", value)
    return count


def read_flag(option: str, value: object) -> bool:
    """True or False, and nothing that would only count as one of them, as 'no' does. Raises GenerationError."""
    if not isinstance(value, bool):
        raise GenerationError(option=option, expected="True or False", found=value)
    return value


def _stops(stop: object) -> tuple[str, ...]:
    given = (stop,) if isinstance(stop, str) else stop if stop is not None else ()
    if not isinstance(given, Sequence) or not all(isinstance(text, str) and text for text in given):
        raise GenerationError(option="stop", expected="a string or a list of strings, none empty", found=stop)
    return tuple(given)


def _require(holds: bool, option: str, expected: str, found: object, *, next_step: str = "") -> None:
    if not holds:
        raise GenerationError(option=option, expected=expected, found=found, next_step=next_step)
