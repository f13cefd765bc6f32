"""The published collection, made up: locked, downloaded by that lock, found again, verified, loaded.

In full at its published sizes; in the shorter form every width is a SHORTER-th, and only what depends on no clock and
no size is held.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from heads.runtime import load_registered_head
from registry.catalog import load_catalog
from registry.home import downloaded_lock_path
from registry.lock import read_lock
from registry.records import Catalog, Head
from registry.shelf import Shelf
from tests.hub.server import LocalHub
from tests.registry.stored import Tensors

pytestmark = pytest.mark.promises

REPO = "ArcticHuaji/specdecpp-acc-heads"
DEPTH = 3
SHORTER = 64
SHARED = {"tiny-llama-1.1b", "qwen1.5-1.8b-chat"}
PICKLED = {"vicuna-68m"}
FORMS = {"llama-68m": "separate", **dict.fromkeys(SHARED, "shared"), **dict.fromkeys(PICKLED, "pickled")}
LOOKED_INTO = ("format", "tensors", "dtype", "finite")
PICKLE = "pytorch_model.bin"
UNOPENED = "a pickle: not loaded; specreg never unpickles here"
SPECREG = "from registry.cli import main; main()"
MEASURED = (
    "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
    "sys.stderr.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)); sys.exit(code)"
)


def write_published(folder: Path, head: Head, hidden: int) -> int:
    """A head in its published form, with made-up numbers; the size of its weights in bytes."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"hidden_size": hidden, "num_layers": DEPTH}))
    draw = np.random.default_rng(list(head.name.encode()))  # equal bytes would be fetched once
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

        torch.save({name: torch.from_numpy(tensor) for name, tensor in tensors.items()}, folder / PICKLE)
        return (folder / PICKLE).stat().st_size
    dropped = {
        f"model.{block}.linear.{kind}": f"model.0.linear.{kind}"
        for block in range(1, DEPTH)
        for kind in ("weight", "bias")
    }
    save_file(tensors, folder / "model.safetensors", {"format": "pt", **(dropped if shared else {})})
    return (folder / "model.safetensors").stat().st_size


def write_catalog(file: Path, catalog: Catalog, heads: Sequence[Head], widths: Mapping[str, int]) -> None:
    """A user's catalog that names the heads again, and says how wide their sources are."""
    lines = ["version: 1", "models:"]
    for alias in dict.fromkeys(head.source for head in heads):
        model = catalog.models[alias]
        lines.append(
            f"  {alias}: {{hidden_size: {widths[alias]}, vocab_size: {model.vocab_size}, "
            f"tokenizer: {model.tokenizer}}}"
        )
    lines.append("heads:")
    lines += [
        f"  - {{source: {head.source}, target: {head.target}, run: {head.run}, from: {head.from_}}}"
        for head in heads
    ]
    file.write_text("\n".join(lines) + "\n")


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a command in a process of its own ended, after how long, and, where measured, its peak of memory."""

    code: int
    out: str
    err: str
    seconds: float
    peak_bytes: int


def specreg(*arguments: str, measured: bool = False) -> Ran:
    """`specreg ...` with the environment as it is now."""
    program = [sys.executable, "-c", SPECREG, *arguments]
    begun = time.monotonic()
    outcome = subprocess.run(
        [sys.executable, "-c", MEASURED, *program] if measured else program,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - begun
    peak = int(outcome.stderr) * 1024 if measured else 0
    return Ran(
        code=outcome.returncode,
        out=outcome.stdout,
        err="" if measured else outcome.stderr,
        seconds=seconds,
        peak_bytes=peak,
    )


def test_the_published_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_full: bool, figure: Callable[[int, str], None]
) -> None:
    """
    All ten heads are locked, come as locked, are there the second time without a request, verify and load.
    """
    catalog = load_catalog()
    heads = [head for head in catalog.heads if head.from_ == "specdecpp"]
    widths = {
        head.source: (catalog.models[head.source].hidden_size or 0) // (1 if in_full else SHORTER)
        for head in heads
    }
    served, own = tmp_path / "served", tmp_path / "own.yaml"
    sizes = {
        head.name: write_published(served / REPO / head.folder, head, widths[head.source]) for head in heads
    }
    write_catalog(own, catalog, heads, widths)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SPECREG_HOME", str(tmp_path / "state"))

    with LocalHub(served) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        assert specreg("lock", str(own)).code == 0
        assert specreg("lock", str(own), "--check").code == 0
        assert [request for request in hub.requests if request.startswith("GET /cdn/")] == []
        monkeypatch.setenv("SPECREG_CATALOG", str(own))
        first = specreg("download", "--all")
        assert (first.code, first.err) == (0, "")
        assert len([request for request in hub.requests if request.startswith("GET /cdn/")]) == 10
        hub.requests.clear()
        again = [specreg("download", "--all") for _ in range(5 if in_full else 1)]
        assert {one.code for one in again} == {0}
        assert hub.requests == []
        commit = hub.commit(REPO)
    lock = read_lock(own.with_suffix(".lock"))
    assert {name: entry.commit for name, entry in lock.heads.items()} == dict.fromkeys(sizes, commit)
    assert not downloaded_lock_path().exists()  # the catalog's own lock was in force

    verified = specreg("verify", "--json", measured=True)
    assert verified.code == 0
    reports = {report["head"]: report for report in json.loads(verified.out)["heads"]}
    for head in heads:
        assert_sound(reports[head.name], pickled=head.source in PICKLED)

    shelf = Shelf.open()
    by_source = {head.source: head for head in heads}
    for source, form in FORMS.items():
        assert load_registered_head(shelf, by_source[source]).stored_form == form

    if not in_full:
        return
    second_s = min(one.seconds for one in again)
    assert second_s < 1.0
    assert verified.peak_bytes < 1.5 * max(sizes.values())
    total, largest = sum(sizes.values()) / 1e6, max(sizes.values()) / 1e6
    figure(
        7,
        f"ten heads of {total:.0f} MB, the largest {largest:.0f} MB, verified in "
        f"{verified.peak_bytes / 1e6:.0f} MB at most",
    )
    figure(
        12,
        f"ten heads of {total:.0f} MB locked, and downloaded by the lock in {first.seconds:.1f} s; again in "
        f"{second_s:.2f} s, 0 requests",
    )


def assert_sound(report: dict[str, Any], *, pickled: bool) -> None:
    """Every file as recorded and every check of the head's own files passed; of a pickle, that it was not opened."""
    found = {finding["check"]: finding for finding in report["findings"]}
    files = {file["path"]: (file["status"], file["detail"]) for file in report["files"]}
    recorded = ("ok", "size and sha256 as recorded")
    assert report["ok"]
    assert {found[check]["status"] for check in ("record", "config", "depth", "hidden_size")} == {"pass"}
    if pickled:
        assert files == {"config.json": recorded, PICKLE: ("ok", f"{recorded[1]}; {UNOPENED}")}
        said = {check: (found[check]["status"], found[check]["detail"]) for check in LOOKED_INTO}
        unseen = f"{PICKLE} is {UNOPENED}"
        way_out = f"{unseen}; `specreg convert {report['head']}` makes safetensors of it"
        assert said == {
            **dict.fromkeys(LOOKED_INTO, ("unknown", unseen)),
            "format": ("unknown", way_out),
        }
    else:
        assert files == {"config.json": recorded, "model.safetensors": recorded}
        assert {found[check]["status"] for check in LOOKED_INTO} == {"pass"}
