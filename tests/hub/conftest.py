"""A hub on this machine with two heads and a model, and a machine that has downloaded nothing yet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants, file_download

from registry.catalog import parse_catalog
from registry.home import downloaded_lock_path
from registry.hub import fetching, wire
from registry.hub.download import DownloadReport, download
from registry.lock import Lock, lock_folder, read_lock
from registry.records import Head
from registry.shelf import Shelf
from tests.hub.server import LocalHub
from tests.registry.stored import write_head

REPO = "org/heads"
EDGE = "a--to--b/run"
CATALOG = """
version: 1
sources:
  published: {hub: org/heads}
models:
  a: {hub: org/model-a}
  b: {hub: org/model-b}
  c: {}
heads:
  - {source: a, target: b, run: run, from: published}
  - {source: b, target: c, run: pickled, from: published}
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    """The hub, with `a--to--b/run` as safetensors and `b--to--c/pickled` as a pickle."""
    root = tmp_path / "served"
    write_head(root / REPO / EDGE)
    pickled = root / REPO / "b--to--c" / "pickled"
    pickled.mkdir(parents=True)
    (pickled / "config.json").write_text('{"hidden_size": 4, "num_layers": 2}')
    (pickled / "pytorch_model.bin").write_bytes(b"not a real pickle")
    model = root / "org" / "model-a"
    model.mkdir(parents=True)
    (model / "config.json").write_text('{"hidden_size": 4}')
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "pytorch_model.bin"):
        (model / name).write_bytes(name.encode() * 9)
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {}}))
    (model / "training_args.bin").write_bytes(b"never fetched")
    with LocalHub(root) as served:
        yield served


class Machine:
    """A machine with its own cache and state, which downloads from one hub."""

    def __init__(self, folder: Path, hub: LocalHub) -> None:
        self.folder = folder
        self.hub = hub
        self.lock = Lock()
        self.catalog = parse_catalog(CATALOG, file="catalog.yaml", base=folder)
        self.cache = folder / "cache"

    @property
    def shelf(self) -> Shelf:
        """The catalog, with what was downloaded earlier under its lock."""
        earlier = read_lock(downloaded_lock_path())
        return Shelf(
            self.catalog,
            Lock(
                heads={**earlier.heads, **self.lock.heads},
                models={**earlier.models, **self.lock.models},
            ),
        )

    def head(self, number: int = 0) -> Head:
        """One of the catalog's heads."""
        return self.catalog.heads[number]

    def download(self, *, dry_run: bool = False, timeout_s: float = 30.0, number: int = 0) -> DownloadReport:
        """Download one head."""
        return download(
            self.shelf,
            [self.head(number)],
            dry_run=dry_run,
            timeout_s=timeout_s,
            endpoint=self.hub.endpoint,
            bars=False,
        )

    @property
    def snapshot(self) -> Path:
        """The folder of the first head, whether it is here or not."""
        commit = self.hub.commit(REPO)
        return self.cache / "models--org--heads" / "snapshots" / commit / EDGE

    def blobs(self) -> set[str]:
        """Names of all blobs of the heads' repository, half-written ones included."""
        folder = self.cache / "models--org--heads" / "blobs"
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def crowd(self, job: str, **facts: Any) -> dict[str, Any]:
        """A job of `tests.hub.crowd`, in processes of its own; `errors` is what they wrote to stderr."""
        catalog = self.folder / "catalog.yaml"
        catalog.write_text(facts.pop("text", CATALOG))
        truth = {
            head.name: lock_folder(
                self.hub.root / REPO / head.folder, commit=self.hub.commit(REPO)
            ).model_dump()
            for head in self.catalog.heads
        }
        given = {"job": job, "catalog": str(catalog), "truth": truth, "seed": 7, **facts}
        outcome = subprocess.run(
            [sys.executable, "-m", "tests.hub.crowd", json.dumps(given)],
            env={**os.environ, "HF_ENDPOINT": self.hub.endpoint},
            cwd=Path(__file__).parent.parent.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        assert outcome.returncode == 0, outcome.stderr
        return {**json.loads(outcome.stdout), "errors": outcome.stderr.splitlines()}

    def outside(self) -> set[str]:
        """What lies beside the cache, the state and what is served."""
        return {path.name for path in self.folder.iterdir()} - {"cache", "state", "served"}


@pytest.fixture
def machine(tmp_path: Path, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine that has downloaded nothing, and does not wait long between two tries."""
    for name in ("HF_TOKEN", "HF_HOME", "HUGGING_FACE_HUB_TOKEN", "SPECREG_CATALOG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("SPECREG_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(wire, "BACKOFF_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr(fetching, "PAUSES_S", (0.01, 0.01))
    soon = SimpleNamespace(sleep=lambda _: time.sleep(0.01))  # the client itself waits for a second
    monkeypatch.setattr(file_download, "time", soon, raising=False)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1_000)  # resumed is what came in whole chunks
    return Machine(tmp_path, hub)
