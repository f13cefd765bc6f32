"""What loading a stranger's head may cost: the size of its files, and no more than a bound of our own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from heads import AcceptancePredictionHead
from heads.convert import convert_folder
from registry.errors import CheckpointError

if sys.platform != "win32":
    import resource

LARGEST = json.dumps({"hidden_size": 1 << 17, "num_layers": 64})
MOST = 4 << 30
Load = Callable[[Path], object]


@contextmanager
def room_for(size_bytes: int) -> Iterator[None]:
    """So much more memory for this process, and none beyond."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is that of Linux")
def test_a_small_file_takes_little_memory_whatever_its_config_asks_for(tmp_path: Path) -> None:
    """
    Under the largest config there is, of 8.8 terabytes, a file costs its own size and is refused for what it lacks.
    """
    AcceptancePredictionHead({"hidden_size": 4, "num_layers": 3}).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(LARGEST)

    with room_for(1 << 30), pytest.raises(CheckpointError, match="num_layers: expected 64"):
        AcceptancePredictionHead.from_pretrained(tmp_path)


@pytest.mark.parametrize("load", [AcceptancePredictionHead.from_pretrained, convert_folder])
def test_no_config_allows_a_file_of_more_than_four_gibibytes(tmp_path: Path, load: Load) -> None:
    """
    What a config asks for is bounded by a number of our own, in loading and in converting.
    """
    (tmp_path / "config.json").write_text(LARGEST)
    (tmp_path / "pytorch_model.bin").touch()
    os.truncate(tmp_path / "pytorch_model.bin", MOST + 1)

    with pytest.raises(CheckpointError, match=f"{MOST + 1} bytes, more than the {MOST} such"):
        load(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is that of Linux")
@pytest.mark.parametrize("load", [AcceptancePredictionHead.from_pretrained, convert_folder])
def test_a_file_that_memory_does_not_hold_is_refused(tmp_path: Path, load: Load) -> None:
    """
    A sparse file within the bound, on a machine that has less, ends in a refusal.
    """
    (tmp_path / "config.json").write_text(LARGEST)
    (tmp_path / "pytorch_model.bin").touch()
    os.truncate(tmp_path / "pytorch_model.bin", MOST)

    with room_for(1 << 30), pytest.raises(CheckpointError, match="more memory than there is"):
        load(tmp_path)
