"""Promise 10: verifying costs hardly more than hashing does."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from registry.files.folder import CheckpointFolder
from registry.files.manifest import check_files
from registry.lock import lock_folder
from registry.records import Model
from registry.verify import read_verified, read_verified_buffer, verify_head, verify_model
from tests.registry.stored import head_entry

pytestmark = pytest.mark.promises

Times = Callable[[int, int], int]
Figure = Callable[[int, str], None]
Works = dict[str, Callable[[], object]]


def hashed(path: Path) -> str:
    """sha256 of a file as the standard library takes it."""
    with path.open("rb", buffering=0) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def in_turns(works: Works, rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Least seconds of each work, taken in turns, so that what else runs here slows all of them alike."""
    least = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            began = clock()
            work()
            least[name] = min(least[name], clock() - began)
    return least


def large_head(folder: Path, width: int) -> Path:
    """A head of one block, its numbers drawn at random; returns its weights."""
    draw = np.random.default_rng(10)
    tensors = {
        "model.0.linear.weight": draw.standard_normal((width, width), np.float32),
        "model.0.linear.bias": np.ones(width, np.float32),
        "model.1.weight": np.ones((2, width), np.float32),
        "model.1.bias": np.ones(2, np.float32),
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"hidden_size": width, "num_layers": 1}))
    return folder / "model.safetensors"


def test_verifying_is_nearly_as_fast_as_hashing(
    tmp_path: Path, in_full: bool, times: Times, figure: Figure
) -> None:
    """
    Hash, structure and numbers of a head take at most a ninth more of a core than the hash alone.
    """
    weights = large_head(tmp_path, times(8_000, 3_000))
    entry, head = lock_folder(tmp_path), head_entry("run")
    content = weights.read_bytes()
    works: Works = {
        "file": lambda: hashed(weights),
        "memory": lambda: hashlib.sha256(content).digest(),
        "verify": lambda: verify_head(head, tmp_path, entry=entry),
        "buffer": lambda: read_verified_buffer(tmp_path, entry, weights.name),
        "bytes": lambda: read_verified(tmp_path, entry, [weights.name]),
    }
    assert verify_head(head, tmp_path, entry=entry).ok

    seconds = in_turns(works, times(9, 4), time.process_time)

    rate = {name: len(content) / taken / 1e9 for name, taken in seconds.items()}
    share = {name: seconds["file"] / taken for name, taken in seconds.items()}
    figure(
        10,
        f"per core, {len(content) / 1e6:.0f} MB: hashlib reads and hashes {rate['file']:.2f} GB/s "
        f"({rate['memory']:.2f} in memory); verify {share['verify']:.2f} of that "
        f"({seconds['memory'] / seconds['verify']:.2f} of in memory), read_verified_buffer "
        f"{share['buffer']:.2f}, read_verified {share['bytes']:.2f}",
    )
    assert share["verify"] >= (0.9 if in_full else 0.6)
    assert share["buffer"] >= (0.75 if in_full else 0.5)
    assert share["bytes"] >= (0.5 if in_full else 0.3)


def test_two_files_are_read_at_a_time(tmp_path: Path) -> None:
    """
    Two files are open at once: either one's check waits until the other's has begun.
    """
    for name in ("one", "other"):
        (tmp_path / name).write_bytes(name.encode())
    both = threading.Barrier(2, timeout=30)

    reports = check_files(
        CheckpointFolder(tmp_path),
        None,
        inspector_of=lambda _name: lambda _file: both.wait(),
        harmless=lambda _name: False,
        max_bytes=100,
    )

    assert [report.status for report in reports] == ["unrecorded"] * 2


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core")
def test_two_files_keep_two_cores_busy(tmp_path: Path, in_full: bool, times: Times, figure: Figure) -> None:
    """
    Two files of a model are verified as fast as two threads of hashlib hash them.
    """
    draw = np.random.default_rng(11)
    shards = {f"layer.{number}": f"model-{number}.safetensors" for number in (1, 2)}
    for name, shard in shards.items():
        numbers = draw.standard_normal(times(60_000_000, 4_000_000), np.float32)
        save_file({name: numbers}, tmp_path / shard)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    (tmp_path / "config.json").write_text("{}")
    paths = [tmp_path / shard for shard in shards.values()]
    entry, model = lock_folder(tmp_path), Model(alias="m")
    assert verify_model(model, tmp_path, entry=entry).ok

    def hash_both() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(hashed, paths))

    works: Works = {
        "one after the other": lambda: [hashed(path) for path in paths],
        "both": hash_both,
        "verify": lambda: verify_model(model, tmp_path, entry=entry),
    }
    seconds = in_turns(works, times(15, 4), time.perf_counter)

    busy = os.getloadavg()[0]
    figure(
        10,
        f"two files of {paths[0].stat().st_size / 1e6:.0f} MB: hashlib {seconds['one after the other']:.3f} s one "
        f"after the other, {seconds['both']:.3f} s in two threads; verify {seconds['verify']:.3f} s "
        f"({seconds['one after the other'] / seconds['verify']:.2f} times as fast as one after the other; "
        f"load average {busy:.1f})",
    )
    if in_full and busy < (
        os.cpu_count() or 1
    ):  # where others want the cores too, a clock on the wall tells nothing
        assert seconds["both"] / seconds["verify"] >= 0.8
