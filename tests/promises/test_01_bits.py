"""Promise 1: the bytes that are loaded are the bytes on record."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save
from safetensors.torch import load as stock_load

import registry
from heads import AcceptancePredictionHead
from heads.checkpoint import load_head
from registry.errors import CheckpointError
from registry.lock import Lock, lock_folder, write_lock
from registry.places import hub_cache
from registry.records import LockEntry
from registry.verify import read_verified, read_verified_buffer
from tests.pipeline.models import lock, own_catalog, write_model
from tests.registry.stored import flip_bit, head_tensors, shared_tensors, write_head

pytestmark = pytest.mark.promises

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
Times = Callable[[int, int], int]
Figure = Callable[[int, str], None]

SWAPPER = """
import os, sys
folder, kind = sys.argv[1], sys.argv[2]
name = os.path.join(folder, "model.safetensors")
contents = [open(os.path.join(folder, "..", part), "rb").read() for part in ("bad", "good")]
beside, count = name + ".next", 0
print("swapping", flush=True)
while True:
    for number, content in enumerate(contents):
        if kind == "file":
            with open(beside, "wb") as stream:
                stream.write(content)
        elif kind == "link":
            os.symlink(("bad", "good")[number] + "-inside", beside)
        if kind == "in place":
            with open(name, "r+b") as stream:
                stream.write(content)
        else:
            os.replace(beside, name)
        count += 1
        with open(os.path.join(folder, "..", "count"), "w") as stream:
            stream.write(str(count))
"""


def fixtures(folder: Path) -> Iterator[Path]:
    """Small heads of either stored form and of several dtypes, the first as small as a head can be."""
    config = {"hidden_size": 1, "num_layers": 0}
    yield write_head(folder / "least", tensors=head_tensors(hidden=1, depth=0), config=config)
    yield write_head(folder / "separate", tensors=head_tensors(dtype="f2"))
    tensors, metadata = shared_tensors(2)
    yield write_head(folder / "shared", tensors=tensors, metadata=metadata)


def load(folder: Path, entry: LockEntry) -> Any:
    """Load as a pipeline does: the bytes that were hashed are those the head is built of."""
    files = read_verified(folder, entry, (CONFIG, WEIGHTS))
    return load_head(files[CONFIG], files[WEIGHTS])


def stock_takes(content: bytes) -> bool:
    """Whether the library's own loader takes a spoilt file without a word."""
    try:
        stock_load(content)
    except BaseException as error:  # a panic of the library is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        return False
    return True


def test_every_flipped_bit_is_seen(tmp_path: Path, in_full: bool, figure: Figure) -> None:
    """
    No single bit of any file of a small head changes without the load being refused.
    """
    tried = taken = stock = weights = 0
    for folder in fixtures(tmp_path):
        entry = lock_folder(folder)
        load(folder, entry)
        for name in entry.files:
            sound = (folder / name).read_bytes()
            for position in range(0, 8 * len(sound), 1 if in_full else 29):
                spoilt = flip_bit(sound, position)
                (folder / name).write_bytes(spoilt)
                try:
                    load(folder, entry)
                    taken += 1
                except CheckpointError:
                    pass
                tried += 1
                if name == WEIGHTS:
                    weights += 1
                    stock += stock_takes(spoilt)
            (folder / name).write_bytes(sound)
        load(folder, entry)

    figure(
        1,
        f"{tried:,} single-bit flips in three small heads, {tried - taken:,} refused "
        f"(the stock loader takes {stock:,} of the {weights:,} in safetensors)",
    )
    assert taken == 0
    assert stock > 0


@contextmanager
def swapping(folder: Path, kind: str) -> Iterator[None]:
    """Another process puts good and bad bytes in the file's place, over and over."""
    process = subprocess.Popen([sys.executable, "-c", SWAPPER, str(folder), kind], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("kind", ["file", "link", "in place"])
def test_no_swap_between_check_and_load_gets_through(
    tmp_path: Path, kind: str, times: Times, figure: Figure
) -> None:
    """
    While a file, a link or the very blob is swapped without pause, a load gives the good tensors or an error.
    """
    folder = tmp_path / "head"
    tensors = head_tensors(hidden=64)
    write_head(folder, tensors=tensors, config={"hidden_size": 64, "num_layers": 2})
    entry = lock_folder(folder)
    good = (folder / WEIGHTS).read_bytes()
    bad = save({name: value + 1 for name, value in tensors.items()}, {"format": "pt"})
    (tmp_path / "good").write_bytes(good)
    (tmp_path / "bad").write_bytes(bad)
    for name, content in (("good-inside", good), ("bad-inside", bad)):
        (folder / name).write_bytes(content)
    wanted, leaks, refused, loaded, count = times(200, 60), 0, 0, 0, 0
    with swapping(folder, kind):
        while count < wanted or not (refused and loaded):
            for read in (read_whole, read_buffered):
                try:
                    got = read(folder, entry)
                except CheckpointError:
                    refused += 1
                    continue
                loaded += 1
                leaks += got != good
            text = (tmp_path / "count").read_text() if (tmp_path / "count").exists() else ""
            count = int(text or count)

    figure(1, f"{kind}: {count:,} swaps, {loaded:,} loads, {refused:,} refused, {leaks} leaks")
    assert leaks == 0


def read_whole(folder: Path, entry: LockEntry) -> bytes:
    """The weights as bytes, loadable."""
    files = read_verified(folder, entry, (CONFIG, WEIGHTS))
    load_head(files[CONFIG], files[WEIGHTS])
    return files[WEIGHTS]


def read_buffered(folder: Path, entry: LockEntry) -> bytes:
    """The weights as a buffer holds them."""
    return bytes(read_verified_buffer(folder, entry, WEIGHTS))


def test_config_is_part_of_the_bytes(tmp_path: Path) -> None:
    """
    A config.json that is as sound as the recorded one, and another, is refused.
    """
    folder = write_head(tmp_path / "head")
    entry = lock_folder(folder)
    (folder / CONFIG).write_text(json.dumps({"num_layers": 2, "hidden_size": 4}))

    with pytest.raises(CheckpointError, match="differs from its record"):
        load(folder, entry)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "config.json"])
@pytest.mark.parametrize("kind", ["package", "folder"])
def test_a_flipped_bit_of_a_base_model_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    """
    Of a model, too, every file that is read is held against its record, the tokenizer's included.
    """
    folder = write_model(tmp_path / f"site-{kind}" / "altered_package" / "little")
    (folder.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(folder.parent.parent)
    where = {
        "package": "package: altered_package, path: little",
        "folder": f"path: ./{folder.relative_to(tmp_path)}",
    }[kind]
    catalog = own_catalog(tmp_path, where)
    lock(catalog)
    sound = (folder / name).read_bytes()
    (folder / name).write_bytes(flip_bit(sound, 8 * len(sound) - 8))

    with pytest.raises(CheckpointError, match=rf"{name}.*expected sha256.*got"):
        registry.resolve_pipeline("mine", "mine", catalog=catalog).load(device="cpu")


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A head in the Hub's cache, as its catalog's lock records it; its folder."""
    commit, edge = "0" * 40, "pico-little--to--pico-draft/other"
    folder = write_head(hub_cache() / "models--org--heads" / "snapshots" / commit / edge)
    (tmp_path / "own.yaml").write_text(
        "version: 1\nsources:\n  published: {hub: org/heads}\nheads:\n"
        "  - {source: pico-little, target: pico-draft, run: other, from: published}\n"
    )
    entry = lock_folder(folder, commit=commit)
    write_lock(Lock().with_head(edge, entry), tmp_path / "own.lock")
    monkeypatch.setenv("SPECREG_CATALOG", str(tmp_path / "own.yaml"))
    return folder


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_changed_file_of_a_cached_head_is_seen_outside_a_pipeline_too(cached: Path, name: str) -> None:
    """
    `from_pretrained` on a folder of the Hub's cache refuses what its record does not say.
    """
    AcceptancePredictionHead.from_pretrained(cached)
    other = write_head(cached.parent / "elsewhere", config={"num_layers": 2, "hidden_size": 4})
    sound = (cached / WEIGHTS).read_bytes()
    (other / WEIGHTS).write_bytes(flip_bit(sound, 8 * len(sound) - 20))
    (cached / name).write_bytes((other / name).read_bytes())

    with pytest.raises(CheckpointError, match=rf"{name} of pico-little--to--pico-draft/other differs"):
        AcceptancePredictionHead.from_pretrained(cached)
    AcceptancePredictionHead.from_pretrained(other)  # no record: read as it is
