"""The published tri-decoding program beside ours: same weights, heads and prompts, in turns, in one process.

`python -m heads.bench.peer --checkout FOLDER --out FILE.json`, where FOLDER comes of

    git clone --recurse-submodules https://github.com/Nanji-Huaji/DuoDecoding FOLDER

Nothing in it is edited; what was measured is commit 914ef9dd1ddf. Its code runs with the rights of this process, so
name only a checkout that you trust. A run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Final

import registry
from heads.bench.encoded import digest_of
from heads.bench.loading import load_for
from heads.bench.measuring import Journal, measure
from heads.bench.prompts import BenchPrompt, chosen, own_prompts, read_prompts
from heads.bench.provenance import commit_of, provenance
from heads.bench.report import report_of
from heads.bench.sweep import MOST_DRAFTED, advised_candidates, best_of
from heads.bench.systems import PLAIN, CascadeSystem, Sampling
from heads.bench.tridecoding import DEFAULTS, LOOP, REPOSITORY, PeerSystem, Program
from registry.files.wholefile import put_whole
from registry.pipeline import Pipeline
from registry.planning.fingerprint import fingerprint

SWEPT_PROMPTS: Final = 3
ENDLESS: Final[dict[str, Any]] = {"eos_token_id": []}  # the program, too, ends at a length and nowhere else


def compared(
    checkout: Path,
    pipeline: Pipeline,
    prompts: Sequence[BenchPrompt],
    sampling: Sampling,
    *,
    repeats: int = 3,
    device: str | None = None,
    dtype: str | None = None,
    journal: Path | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Plain decoding, our cascade and the program, eager all; the latter two as they come, and as a sweep found best.

    Raises:
        UsageError: see `Program`, `PeerSystem` and `Journal`.
    """
    cascade, ids = load_for(
        pipeline,
        prompts,
        max_new_tokens=sampling.max_new_tokens,
        max_draft=MOST_DRAFTED,
        device=device,
        dtype=dtype,
        engine="eager",
    )
    folders = [head.path for head in pipeline.heads if head.path is not None]  # all: the chain was loaded
    program = Program(checkout, cascade, folders)
    systems: list[CascadeSystem] = [
        CascadeSystem(mode=PLAIN, cascade=cascade.part([len(cascade.models) - 1]), settings=ENDLESS),
        CascadeSystem(mode="three:heads", cascade=cascade, settings=ENDLESS),
        PeerSystem(mode="duodecoding", cascade=cascade, settings=DEFAULTS, program=program),
    ]
    candidates = {
        "three:tuned": (systems[1], [one | ENDLESS for one in advised_candidates(2)]),
        "duodecoding:tuned": (systems[2], list(peer_candidates())),
    }
    facts = provenance(cascade)
    document: dict[str, Any] = {
        "models": list(pipeline.models),
        "heads": [head.name for head in pipeline.heads],
        "provenance": facts,
        "peer": {"repository": REPOSITORY, "commit": commit_of(checkout), "loop": LOOP},
        "prompts": [{"name": one.name, "category": one.category} for one in prompts],
        "prompts_sha256": digest_of(ids),
        "sampling": vars(sampling),
        "repeats": repeats,
    }
    plan = document | {"provenance": {name: value for name, value in facts.items() if name != "measured_at"}}
    plan["checkpoints"] = fingerprint(pipeline.shelf, pipeline.models, document["heads"])
    with Journal(journal, plan) as kept:
        for mode, (system, tried) in candidates.items():
            if mode not in kept.settings:
                told(f"{mode}: trying {len(tried)} settings")
                kept.settle(mode, best_of(system, tried, ids[:SWEPT_PROMPTS], sampling).settings)
            systems.append(replace(system, mode=mode, settings=kept.settings[mode]))
        measure(systems, ids, sampling, kept, repeats=repeats, told=told)
    return document | {"systems": report_of(systems, kept.rows, greedy=sampling.temperature == 0)}


def peer_candidates() -> Iterator[dict[str, Any]]:
    """Settings of the program to try, more of them than are tried of ours: lengths and thresholds, nothing cut off."""
    for gamma2, gamma1, lower, upper in product((2, 4), (2, 4, 8), (0.6, 0.9), (0.6, 0.8, 0.95)):
        yield {
            "gamma2": gamma2,
            "gamma1": gamma1,
            "small_draft_threshold": lower,
            "draft_target_threshold": upper,
            "transfer_top_k": 0,
        }


def main() -> None:
    """Measure what was asked for, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--checkout", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--source", default="pico-little", help="where a chain of three models begins")
    parser.add_argument("--target", default="pico-target")
    parser.add_argument(
        "--prompts", type=Path, metavar="FILE", help="JSONL; a small set of our own if left out"
    )
    parser.add_argument("--category", action="append", default=[], help="may be repeated")
    parser.add_argument("--limit", type=int, help="only the first so many prompts")
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device")
    parser.add_argument("--dtype", choices=["bfloat16", "float16", "float32"])
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    journal = given.out.with_name(f"{given.out.name}.journal")
    document = compared(
        given.checkout,
        registry.resolve_pipeline(given.source, given.target, length=3),
        chosen(
            own_prompts() if given.prompts is None else read_prompts(given.prompts),
            categories=given.category,
            limit=given.limit,
        ),
        Sampling(max_new_tokens=given.max_new_tokens, temperature=given.temperature),
        repeats=given.repeats,
        device=given.device,
        dtype=given.dtype,
        journal=journal,
        told=say,
    )
    put_whole((json.dumps(document, indent=2) + "\n").encode(), given.out)
    journal.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
