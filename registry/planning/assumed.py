"""What is taken for granted where nothing was measured: times and acceptance by the sizes of models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

ITEM_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}

LIKEST: Final = 0.88  # of two models as large as one another
PER_DOUBLING: Final = 0.04  # acceptance lost with each doubling of the target
LEAST: Final = 0.3


@dataclass(frozen=True, kw_only=True)
class AssumedTimes:
    """A forward reads every weight once, and computes a little more for each further token of its query.

    Attributes:
        launch_s: Of one forward, whatever its size.
        bytes_per_second: At which weights are read.
        further: Of a forward's time for one token, what each further token adds.
        of: Whose times these are, for people.
        fitted: Whether they were measured in the very setup that they are assumed for.
    """

    launch_s: float
    bytes_per_second: float
    further: float = 0.0
    of: str
    fitted: bool = False

    @classmethod
    def of_device(cls, device: str | None) -> AssumedTimes:
        """Where nothing was timed: a CPU's times for a CPU, an H100's for a GPU and where nobody says.

        For any other kind of device it is an H100's too, and told as standing in for it.

        Args:
            device: 'cpu', 'cuda' or another of torch's device types, or None.
        """
        if device == "cpu":
            return A_CPU
        return AN_H100 if device in {None, "cuda"} else replace(AN_H100, of=f"one H100 in place of {device}")

    @classmethod
    def from_measured(
        cls,
        known: Sequence[tuple[int, float]],
        *,
        further: float = 0.0,
        of: str | None = None,
    ) -> AssumedTimes:
        """The line through what was measured.

        Args:
            known: Bytes of weights and seconds of a forward, of models on one device; one at least.
            further: What a further token adds there.
            of: Whose times these are; those of the very setup when None.
        """
        points = sorted(set(known))
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
            launch, slope = 0.0, mean_s / mean_bytes
        return cls(
            launch_s=launch,
            bytes_per_second=1 / slope,
            further=further,
            of=of or "models measured here",
            fitted=of is None,
        )

    def seconds(self, size_bytes: int, query: int = 1) -> float:
        """One forward of a model with so many bytes of weights, fed so many tokens."""
        return (self.launch_s + size_bytes / self.bytes_per_second) * (1 + self.further * (query - 1))

    def __str__(self) -> str:
        """For people.

        >>> str(AssumedTimes.of_device("cuda"))
        'times of one H100 assumed, 3.0 TB/s'
        """
        rate = self.bytes_per_second
        return f"times of {self.of} assumed, " + (
            f"{rate / 1e12:.1f} TB/s" if rate >= 1e12 else f"{rate / 1e9:.3g} GB/s"
        )


AN_H100: Final = AssumedTimes(
    launch_s=1e-4,  # by captured graphs
    bytes_per_second=3.0e12,  # what it copies, measured by `python -m heads.bench.limits`
    of="one H100",
)
A_CPU: Final = AssumedTimes(
    launch_s=5e-4,  # little: a layer takes about as much as its bytes do, however small
    bytes_per_second=1.4e10,  # of a matrix of 512 MiB in float32, multiplied by one token
    further=0.35,  # 8 tokens took 4.2 times as long, 16 took 5.6 times
    of="a server's CPU of two cores",
)


def assumed_acceptance(source_size: float, target_size: float) -> float:
    """How much of what the smaller model proposes the larger one keeps: less with each doubling between them.

    Args:
        source_size, target_size: Of the two models, in one unit: parameters, or the seconds that reading them takes.

    >>> round(assumed_acceptance(600_000_000, 14_400_000_000), 2)
    0.7
    """
    doublings = abs(math.log2(target_size / source_size))
    return max(LIKEST - PER_DOUBLING * doublings, LEAST)
