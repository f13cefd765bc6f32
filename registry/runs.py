"""What the name of a training run says."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RUN = re.compile(r"exp(?:-[A-Za-z0-9_.]+)*?-weight([0-9]{1,6}(?:\.[0-9]{1,6})?)?-layer([0-9]{1,4})(?:-.*)?")


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What a run's name says; None where it says nothing."""

    mismatch_weight: float | None = None
    layers: int | None = None


def parse_run_name(run: str) -> RunFacts:
    """Mismatch weight and number of residual blocks, from a name like `exp-weight6-layer3`.

    >>> parse_run_name("exp-qwen-weight6-layer3")
    RunFacts(mismatch_weight=6.0, layers=3)
    >>> parse_run_name("exp-weight-layer3"), parse_run_name("latest")
    (RunFacts(mismatch_weight=None, layers=3), RunFacts(mismatch_weight=None, layers=None))
    """
    match = _RUN.fullmatch(run)
    if match is None:
        return RunFacts()
    weight, layers = match.groups()
    return RunFacts(mismatch_weight=float(weight) if weight else None, layers=int(layers))
