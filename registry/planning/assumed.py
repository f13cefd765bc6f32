"""What is taken for granted where nothing was measured: times and acceptance by the sizes of models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

BYTES_PER_SECOND: Final = 3.0e12  # what an H100 copies, measured by `python -m heads.bench.limits`
LAUNCH_S: Final = 1e-4  # of one forward, whatever its size, by captured graphs
ITEM_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}

LIKEST: Final = 0.88  # of two models as large as one another
PER_DOUBLING: Final = 0.04  # acceptance lost with each doubling of the target
LEAST: Final = 0.3


@dataclass(frozen=True, kw_only=True)
class AssumedTimes:
    """A forward reads every weight once: seconds = launch + bytes / rate."""

    launch_s: float = LAUNCH_S
    bytes_per_second: float = BYTES_PER_SECOND
    fitted: bool = False

    @classmethod
    def from_measured(cls, known: Sequence[tuple[int, float]]) -> AssumedTimes:
        """The line through what was measured.

        Args:
            known: Bytes of weights and seconds of a forward, of models on one device.
        """
        points = sorted(set(known))
        if not points:
            return cls()
        mean_bytes = sum(size for size, _ in points) / len(points)
        mean_s = sum(seconds for _, seconds in points) / len(points)
        spread = sum((size - mean_bytes) ** 2 for size, _ in points)
        slope = (
            sum((size - mean_bytes) * (seconds - mean_s) for size, seconds in points) / spread
            if spread
            else 0.0
        )
        launch = mean_s - slope * mean_bytes
        if slope <= 0 or launch < 0:  # one point, or a line that says that nothing takes time
            return cls(launch_s=0.0, bytes_per_second=mean_bytes / mean_s, fitted=True)
        return cls(launch_s=launch, bytes_per_second=1 / slope, fitted=True)

    def seconds(self, size_bytes: int) -> float:
        """One forward of a model with so many bytes of weights."""
        return self.launch_s + size_bytes / self.bytes_per_second


def assumed_acceptance(source_parameters: int, target_parameters: int) -> float:
    """How much of what the smaller model proposes the larger one keeps: less with each doubling between them.

    >>> round(assumed_acceptance(600_000_000, 14_400_000_000), 2)
    0.7
    """
    doublings = abs(math.log2(target_parameters / source_parameters))
    return max(LIKEST - PER_DOUBLING * doublings, LEAST)
