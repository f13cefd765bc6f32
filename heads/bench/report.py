"""What the rows of a benchmark say, system by system."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from statistics import median
from typing import Any

from heads.bench.measuring import Row
from heads.bench.systems import PLAIN, System


def report_of(systems: Sequence[System], rows: Sequence[Row], *, greedy: bool) -> list[dict[str, Any]]:
    """One document per system, in their order.

    Speeds are tokens per second over all prompts: the median of the repeats, with the lowest and the highest.
    `mismatched_tokens` counts, when greedy, positions that differ from plain decoding's text. Shares are of the
    time of all runs; a cascade's time outside forwards and heads is `other`. That of heads is None where one was asked
    within a recorded step, whose parts nobody can tell apart: it is in `other` then.
    """
    texts = {(row.prompt, row.repeat): row.run.token_ids for row in rows if row.mode == PLAIN}
    documents = [
        _document(system, [row for row in rows if row.mode == system.mode], texts if greedy else None)
        for system in systems
    ]
    plain = next((one["tokens_per_second"]["median"] for one in documents if one["mode"] == PLAIN), None)
    for one in documents:
        one["speedup_over_plain"] = one["tokens_per_second"]["median"] / plain if plain else None
    return documents


def _document(
    system: System, rows: Sequence[Row], texts: dict[tuple[int, int], list[int]] | None
) -> dict[str, Any]:
    repeats = sorted({row.repeat for row in rows})
    speeds = [_speed([row for row in rows if row.repeat == repeat]) for repeat in repeats]
    tokens = sum(len(row.run.token_ids) for row in rows)
    seconds = sum(row.run.seconds for row in rows)
    forwards = [
        sum(counts)
        for counts in zip(*[[level.forwards for level in row.run.levels] for row in rows], strict=True)
    ]
    edges = range(len(system.models) - 1)
    told = all(row.run.levels[edge].proposed is not None for row in rows for edge in edges)
    in_forwards = sum(level.seconds for row in rows for level in row.run.levels)
    in_heads = _in_heads(rows)
    return {
        "mode": system.mode,
        "models": list(system.models),
        "settings": dict(system.settings),
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": {"median": median(speeds), "low": min(speeds), "high": max(speeds)},
        "forwards": forwards,
        "tokens_per_target_forward": tokens / forwards[-1],
        "acceptance": [_acceptance(rows, edge) for edge in edges] if told else None,
        "acceptance_by_position": [_by_position(rows, edge) for edge in edges] if told else None,
        "mismatched_tokens": None if texts is None else sum(_mismatches(row, texts) for row in rows),
        "shares": {
            "forwards": [
                sum(row.run.levels[index].seconds for row in rows) / seconds for index in range(len(forwards))
            ],
            "heads": None if in_heads is None else in_heads / seconds,
            "other": 1 - (in_forwards + (in_heads or 0.0)) / seconds,
        }
        if in_forwards
        else None,
    }


def _speed(rows: Sequence[Row]) -> float:
    return sum(len(row.run.token_ids) for row in rows) / sum(row.run.seconds for row in rows)


def _in_heads(rows: Sequence[Row]) -> float | None:
    found = 0.0
    for level in (level for row in rows for level in row.run.levels):
        if level.head_seconds is None:
            return None
        found += level.head_seconds
    return found


def _acceptance(rows: Sequence[Row], edge: int) -> float | None:
    proposed = sum(row.run.levels[edge].proposed or 0 for row in rows)
    accepted = sum(row.run.levels[edge].accepted or 0 for row in rows)
    return accepted / proposed if proposed else None


def _by_position(rows: Sequence[Row], edge: int) -> list[float]:
    """Of the rounds that proposed an i-th token, the share that kept it."""
    levels = [row.run.levels[edge] for row in rows]
    proposed = [sum(counts) for counts in zip_longest(*[one.proposed_at for one in levels], fillvalue=0)]
    accepted = [sum(counts) for counts in zip_longest(*[one.accepted_at for one in levels], fillvalue=0)]
    return [kept / count for kept, count in zip(accepted, proposed, strict=True)]


def _mismatches(row: Row, texts: dict[tuple[int, int], list[int]]) -> int:
    plain = texts.get((row.prompt, row.repeat), [])
    return sum(ours != theirs for ours, theirs in zip_longest(row.run.token_ids, plain))
