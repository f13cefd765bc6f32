"""How near a level's forward is to what the memory allows: `python -m heads.bench.limits --out FILE`.

One forward of a large model has to read its weights once; bytes of weights over the copy bandwidth, measured in the
same run, is the floor. Then a cascade of such models with acceptance drawn at given rates ('synthetic acceptance'):
what it takes above what the measured forwards say is the cascade's own cost.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from heads.bench.provenance import machine
from heads.bench.shapes import SHAPES, random_model, read_bytes
from heads.bench.synthetic import synthetic_runs
from heads.bench.timing import REPEATS, median_seconds
from heads.engines.captured import CapturedLevel
from heads.engines.choice import level_for
from heads.engines.eager import EagerLevel

QUERIES: Final = (1, 2, 4, 8, 16)
TEXT: Final = 256  # positions in the cache while forwards are timed
COPIED_BYTES: Final = 2**31
RATES: Final = (0.6, 0.7, 0.8, 0.9)


def measured(
    names: Sequence[str],
    *,
    device: torch.device,
    dtype: torch.dtype,
    engines: Sequence[str] = ("eager", "captured"),
    queries: Sequence[int] = QUERIES,
    rates: Sequence[float] = RATES,
    longest_chain: int = 3,
    told: Callable[[str], None] = lambda _: None,
    keep: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Forward times of each shape by each engine, smallest model first, then the chains of them by the last engine.

    `keep` gets the document after every step, so that a run which is broken off leaves what it has.
    """
    bandwidth = copy_bandwidth(device)
    document: dict[str, Any] = {
        "provenance": machine(device) | {"dtype": str(dtype).removeprefix("torch.")},
        "copy_bytes_per_second": bandwidth,
        "text_positions": TEXT,
        "weights": "random, of the published shapes",
        "models": {},
        "chains_engine": engines[-1],
        "chains": [],
    }
    levels: dict[str, EagerLevel | CapturedLevel] = {}
    for name in names:
        told(f"{name}: making it")
        model = random_model(SHAPES[name], device=device, dtype=dtype)
        floor = read_bytes(model) / bandwidth
        found = {
            "parameters": model.num_parameters(),
            "read_bytes": read_bytes(model),
            "floor_ms": 1e3 * floor,
        }
        document["models"][name] = found | {"engines": {}}
        for engine in engines:
            told(f"{name}: {engine}")
            levels[name] = level_for(model, name=name, engine=engine, top=name == names[-1])  # type: ignore[arg-type]
            document["models"][name]["engines"][engine] = _of_level(levels[name], floor, queries, device)
            keep(document)
    for run in synthetic_runs(levels, rates=rates, longest_chain=longest_chain, told=told):
        document["chains"].append(run)
        keep(document)
    return document


def copy_bandwidth(device: torch.device) -> float:
    """Bytes read and written a second by copies of a large tensor on the device."""
    size = COPIED_BYTES if device.type == "cuda" else COPIED_BYTES // 16
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / median_seconds(lambda: target.copy_(source), device, repeats=10)


def _of_level(
    level: EagerLevel | CapturedLevel, floor: float, queries: Sequence[int], device: torch.device
) -> dict[str, Any]:
    """Times for queries of these lengths; `padded_to` says what each was run as."""
    began = time.perf_counter()
    padded = {count: count for count in queries}
    if isinstance(level, CapturedLevel):
        level.warm_up(TEXT + max(queries), queries)
        padded = {count: level.padded([count])[0] for count in queries}
    warm_up = time.perf_counter() - began
    forwards = {count: _forward_seconds(level, count, device) for count in queries}
    level.end()
    return {
        "warm_up_s": warm_up,
        "padded_to": {str(count): length for count, length in padded.items()},
        "forward_ms": {str(count): 1e3 * seconds for count, seconds in forwards.items()},
        "over_floor": {str(count): seconds / floor for count, seconds in forwards.items()},
        "refusal": getattr(level, "refusal", None),
    }


@torch.inference_mode()
def _forward_seconds(level: EagerLevel | CapturedLevel, count: int, device: torch.device) -> float:
    level.begin(TEXT + max(QUERIES))
    level.feed([1] * TEXT, 1)

    def forward() -> None:
        level.feed([1] * count, count)
        level.rollback(TEXT)

    return median_seconds(forward, device, repeats=REPEATS)


def main() -> None:
    """Measure what was asked for, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", default="qwen3-0.6b,qwen3-1.7b,qwen3-14b", help="shapes, smallest first")
    parser.add_argument("--engines", default="eager,captured")
    parser.add_argument("--rates", default=",".join(map(str, RATES)), help="synthetic acceptance")
    parser.add_argument("--queries", default=",".join(map(str, QUERIES)), help="tokens a forward is fed")
    parser.add_argument("--longest-chain", type=int, default=3, help="models; 1 measures forwards alone")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()

    def keep(document: dict[str, Any]) -> None:
        given.out.write_text(json.dumps(document, indent=2) + "\n")

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    keep(
        measured(
            given.models.split(","),
            device=torch.device(given.device),
            dtype=getattr(torch, given.dtype),
            engines=given.engines.split(","),
            queries=[int(count) for count in given.queries.split(",")],
            longest_chain=given.longest_chain,
            rates=[float(rate) for rate in given.rates.split(",")],
            told=say,
            keep=keep,
        )
    )


if __name__ == "__main__":
    main()
