"""What a model's forwards take as a level runs them, and what a token takes beside its forward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any, Final

from heads.anatomy import max_positions, output_rows
from heads.bench.timing import timings
from heads.cascade import Cascade
from heads.engines.captured import CapturedLevel
from heads.engines.choice import query_lengths
from heads.engines.eager import EagerLevel
from heads.generation import Generation
from heads.measuring.effort import Effort
from heads.measuring.steadiness import no_dearer
from registry.planning.timing import ForwardTime, ForwardTimes

QUERIES: Final = (1, 2, 3, 4, 6, 8, 12, 16)
PROMPTS: Final = (32, 128)
SHORT, LONG = 64, 512  # positions in the cache
WAYS: Final[dict[str, dict[str, Any]]] = {"greedy": {"temperature": 0.0}, "sampled": {"temperature": 1.0}}

RunLevel = EagerLevel | CapturedLevel


def forward_seconds(level: RunLevel, effort: Effort) -> dict[tuple[int, int], float]:
    """Seconds by length of query and of cache, as the level runs them; its graphs stay, the text goes.

    The model is made for every length that is fed: where it sees fewer positions, the long cache is shorter.
    """
    bound = max_positions(level.model)
    found: dict[tuple[int, int], float] = {}
    try:
        for cached in caches(level):
            found |= _over_a_cache(level, cached, effort)
        for count in PROMPTS:
            if bound is None or count <= bound:
                found[count, 0] = _of_a_prompt(level, count, effort)
    finally:
        level.end()
    return found


def caches(level: RunLevel) -> list[int]:
    """Positions that forwards are timed over, the short cache first; none where a model has no room for any."""
    bound = max_positions(level.model) or LONG + max(QUERIES)
    return sorted(one for one in {min(one, bound - max(QUERIES)) for one in (SHORT, LONG)} if one > 0)


def times_of(seconds: Mapping[tuple[int, int], float]) -> tuple[ForwardTime, ...]:
    """The same as records."""
    return tuple(
        ForwardTime(query=query, cached=cached, seconds=one) for (query, cached), one in seconds.items()
    )


def outside_forwards(
    cascade: Cascade, place: int, prompt: Sequence[int], *, effort: Effort, times: ForwardTimes | None = None
) -> dict[str, float]:
    """What a token takes that one model decodes alone, beside its forward, by 'greedy' and 'sampled'.

    It is less than nothing where the times explain more than passed.

    Args:
        cascade: The chain.
        place: Of the model in it.
        prompt: Token ids that the text begins with.
        effort: How many texts, and how long.
        times: Of its forwards, where the host's own clock does not tell of them: on an accelerator it runs ahead.
    """
    alone = cascade.part([place])
    found: dict[str, float] = {}
    for way, law in WAYS.items():
        shares = []
        for run in range(effort.runs):
            out = alone.generate(list(prompt), max_new_tokens=effort.tokens, seed=run, eos_token_id=[], **law)
            within = out.levels[0].seconds if times is None else decoding_seconds(out, [times])
            shares.append((out.seconds - within) / out.new_tokens)
        found[way] = median(shares)
    return found


def decoding_seconds(out: Generation, times: Sequence[ForwardTimes], *, query: int = 1) -> float:
    """What a text's forwards take by the times measured: the prompt's, and the others half way through the text.

    Args:
        out: The text; `levels` say how many forwards each model did.
        times: Of those models.
        query: Tokens that the last model is fed each time, the others one.
    """
    middle = out.prompt_tokens + out.new_tokens // 2
    last = len(times) - 1
    return sum(
        one.seconds(out.prompt_tokens)
        + (level.forwards - 1) * one.seconds(query if place == last else 1, middle)
        for place, (one, level) in enumerate(zip(times, out.levels, strict=True))
    )


def _over_a_cache(level: RunLevel, cached: int, effort: Effort) -> dict[tuple[int, int], float]:
    """Short queries over so many positions, those of one length one after the other, as drafting feeds them."""
    longest, device = cached + max(QUERIES), level.model.device
    if isinstance(level, CapturedLevel):
        level.warm_up(longest, QUERIES)
    level.begin(longest)
    level.feed(some_tokens(level, cached), 1)
    found: dict[int, float] = {}

    def forward(tokens: list[int]) -> None:
        level.feed(tokens, len(tokens))
        level.rollback(cached)

    for count in QUERIES:
        work = partial(forward, some_tokens(level, count))
        work()  # what another length left of the processor's caches is not this one's
        found[count] = median(timings(work, device, most=effort.forwards, seconds=effort.seconds))
    return {(count, cached): seconds for count, seconds in no_dearer(found).items()}


def _of_a_prompt(level: RunLevel, count: int, effort: Effort) -> float:
    """A text's first forward, and what makes room for it."""

    def first(tokens: list[int]) -> None:
        level.begin(count + max(QUERIES))
        level.feed(tokens, 1)

    work = partial(first, some_tokens(level, count))
    work()
    return median(timings(work, level.model.device, most=effort.forwards, seconds=effort.seconds))


def some_tokens(level: RunLevel, count: int) -> list[int]:
    """Ids that differ: a model of many experts does not ask the same few of them."""
    vocabulary = output_rows(level.model)
    return [7 * (place + 1) % vocabulary for place in range(count)]


def roles_differ(level: RunLevel) -> bool:
    """Whether its model's queries are padded otherwise as a chain's target than below one."""
    model = level.model
    gpu, fused = model.device.type == "cuda", level.engine == "fused"
    lengths = {query_lengths(gpu=gpu, top=top, dtype=model.dtype, fused=fused) for top in (False, True)}
    return isinstance(level, CapturedLevel) and len(lengths) > 1
