"""What models that were not measured are assumed to take, by those that were: of this setup, or of one like it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from registry.planning.assumed import ITEM_BYTES, AssumedTimes
from registry.planning.measured import Measured
from registry.records import Model

WAYS: Final = ("greedy", "sampled")
LONG_QUERY: Final = 16  # tokens, by which it is told what each beyond the first adds
HALF: Final = "bfloat16"


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Forwards by size, and what a token takes beside one, by 'greedy' and 'sampled'."""

    times: AssumedTimes
    beside: dict[str, float]


def fitted(models: Mapping[str, Model], measured: Measured, *, cached: int) -> Fitted:
    """By the setup's own times; where it has none by those of the setup likest to it, else by its kind of device.

    Args:
        models: The catalog's, whose sizes count.
        measured: Of the setup.
        cached: Positions in the cache that forwards are looked up at.
    """
    found = _line(models, measured, cached)
    if found is None and measured.likest is not None:
        found = _line(models, measured.likest, cached, of=str(measured.likest.setup))
    times = AssumedTimes.of_device(measured.device)
    return found or Fitted(times=times, beside=dict.fromkeys(WAYS, 0.0))


def item_bytes(dtype: str | None, measured: Measured) -> int:
    """Of one weight: in the dtype asked for, that of the setup, or what is usual on its device."""
    usual = "float32" if measured.device == "cpu" else HALF
    named = dtype or (usual if measured.setup is None else measured.setup.dtype)
    return ITEM_BYTES.get(named, ITEM_BYTES[HALF])


def _line(
    models: Mapping[str, Model], measured: Measured, cached: int, *, of: str | None = None
) -> Fitted | None:
    """None where no model of known size was timed."""
    points, further, beside = [], [], []
    size = item_bytes(None, measured)
    for name, model in models.items():
        known = measured.forwards(name, as_target=False)
        if known is None or model.parameters is None:
            continue
        one, many = (known.seconds(query, cached) for query in (1, LONG_QUERY))
        if one > 0:
            points.append((model.parameters * size, one))
            further.append(max(0.0, many / one - 1) / (LONG_QUERY - 1))
            beside.append(known.outside)
    if not points:
        return None
    return Fitted(
        times=AssumedTimes.from_measured(points, further=fmean(further), of=of),
        beside={way: fmean(one[way] for one in beside) for way in WAYS},
    )
