"""The published collection, made up at its published sizes: downloaded, found again, verified, loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from registry.catalog import load_catalog
from registry.records import Head
from tests.hub.server import LocalHub
from tests.registry.stored import Tensors

pytestmark = [pytest.mark.promises, pytest.mark.slow]

REPO = "ArcticHuaji/specdecpp-acc-heads"
DEPTH = 3
SHARED = {"tiny-llama-1.1b", "qwen1.5-1.8b-chat"}
PICKLED = {"vicuna-68m"}
SPECREG = "from registry.cli import main; main()"
MEASURED = (
    "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
    "sys.stderr.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)); sys.exit(code)"
)


def write_published(folder: Path, head: Head, hidden: int) -> int:
    """A head in its published form, with made-up numbers; the size of its weights in bytes."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"hidden_size": hidden, "num_layers": DEPTH}))
    draw = np.random.default_rng(hidden)
    shared = head.source in SHARED
    tensors: Tensors = {
        f"model.{block}.linear.{kind}": draw.random(shape, dtype=np.float32)
        for block in range(1 if shared else DEPTH)
        for kind, shape in (("weight", (hidden, hidden)), ("bias", (hidden,)))
    }
    tensors |= {
        f"model.{DEPTH}.weight": draw.random((2, hidden), dtype=np.float32),
        f"model.{DEPTH}.bias": draw.random(2, dtype=np.float32),
    }
    if head.source in PICKLED:
        import torch

        torch.save(
            {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}, folder / "pytorch_model.bin"
        )
        return (folder / "pytorch_model.bin").stat().st_size
    dropped = {
        f"model.{block}.linear.{kind}": f"model.0.linear.{kind}"
        for block in range(1, DEPTH)
        for kind in ("weight", "bias")
    }
    save_file(tensors, folder / "model.safetensors", {"format": "pt", **(dropped if shared else {})})
    return (folder / "model.safetensors").stat().st_size


def test_the_published_collection(tmp_path: Path, in_full: bool, figure: Callable[[int, str], None]) -> None:
    """
    All ten heads come, are there the second time without a request, verify in little memory, and load.
    """
    if not in_full:
        pytest.skip("700 MB twice: shown in full by -m promises")
    catalog = load_catalog()
    heads = [head for head in catalog.heads if head.from_ == "specdecpp"]
    served = tmp_path / "served"
    sizes = {
        head.name: write_published(
            served / REPO / head.folder, head, catalog.models[head.source].hidden_size or 0
        )
        for head in heads
    }
    environ = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "cache"), "SPECREG_HOME": str(tmp_path / "state")}

    def specreg(*arguments: str, measured: bool = False) -> tuple[float, subprocess.CompletedProcess[str]]:
        program = [sys.executable, "-c", SPECREG, *arguments]
        begun = time.monotonic()
        outcome = subprocess.run(
            [sys.executable, "-c", MEASURED, *program] if measured else program,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        return time.monotonic() - begun, outcome

    with LocalHub(served) as hub:
        environ["HF_ENDPOINT"] = hub.endpoint
        first_s, first = specreg("download", "--all")
        assert (first.returncode, first.stderr) == (0, "")
        weights = [request for request in hub.requests if request.startswith("GET /cdn/")]
        assert len(weights) == len(heads) == 10
        hub.requests.clear()
        seconds = [specreg("download", "--all") for _ in range(5)]
        assert hub.requests == []
    assert {outcome.returncode for _, outcome in seconds} == {0}
    second_s = min(seconds_one for seconds_one, _ in seconds)
    assert second_s < 1.0

    _, verified = specreg("verify", "--json", measured=True)
    peak = int(verified.stderr) * 1024
    reports = {report["head"]: report for report in json.loads(verified.stdout)["heads"]}
    unsound = {name for name in sizes if not reports[name]["ok"]}
    assert unsound <= {head.name for head in heads if head.source in PICKLED}
    assert peak < 1.5 * max(sizes.values())

    from heads import AcceptancePredictionHead

    folders = {head.source: Path(first_folder(first.stdout, head.name)) for head in heads}
    forms = {"llama-68m": "separate", **dict.fromkeys(SHARED, "shared"), **dict.fromkeys(PICKLED, "pickled")}
    for source, form in forms.items():
        assert AcceptancePredictionHead.from_pretrained(folders[source]).stored_form == form

    total, largest = sum(sizes.values()) / 1e6, max(sizes.values()) / 1e6
    figure(
        7,
        f"ten heads of {total:.0f} MB, the largest {largest:.0f} MB, verified in {peak / 1e6:.0f} MB at most",
    )
    figure(
        12,
        f"ten heads of {total:.0f} MB downloaded in {first_s:.1f} s; again in {second_s:.2f} s, 0 requests",
    )


def first_folder(printed: str, name: str) -> str:
    """Where a head is, as `specreg download` says."""
    (line,) = (line for line in printed.splitlines() if line.startswith(f"{name}: commit "))
    return line.rpartition(", ")[2]
