"""Promise 7: what a file may cost is bounded, whatever the file says."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from registry.errors import CheckpointError
from registry.files.tensorfile import MAX_HEADER_BYTES, MAX_RANK, MAX_TENSORS, read_header
from tests.registry.stored import raw_file

pytestmark = pytest.mark.promises

Times = Callable[[int, int], int]
Figure = Callable[[int, str], None]
ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
NONE = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read peaks from")

PRELUDE = """
import json, re, sys, time
from pathlib import Path
from registry.errors import CheckpointError
from registry.records import FileRecord, Head, LockEntry
from registry.verify import read_verified, read_verified_buffer, verify_head

HEAD = Head.model_validate({"source": "a", "target": "b", "run": "run", "from": "here"})

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))
"""


def run(code: str, *arguments: object) -> dict[str, Any]:
    """What a fresh interpreter prints as JSON, having done this; it must not die."""
    program = PRELUDE + textwrap.dedent(code)
    ended = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, f"exit {ended.returncode}: {ended.stderr}"
    document: dict[str, Any] = json.loads(ended.stdout)
    return document


def padded(size: int) -> bytes:
    """A sound file whose header is exactly so long."""
    header = json.dumps({"a": ONE}).encode()
    return raw_file(header.ljust(size), b"\0" * 4)


@pytest.mark.parametrize(
    ("within", "past"),
    [
        (padded(MAX_HEADER_BYTES), padded(MAX_HEADER_BYTES + 1)),
        (
            raw_file({str(number): NONE for number in range(MAX_TENSORS)}),
            raw_file({str(number): NONE for number in range(MAX_TENSORS + 1)}),
        ),
        (
            raw_file({"a": {**ONE, "shape": [1] * MAX_RANK}}, b"\0" * 4),
            raw_file({"a": {**ONE, "shape": [1] * (MAX_RANK + 1)}}, b"\0" * 4),
        ),
    ],
    ids=["header of 1 MiB", "4,096 tensors", "rank 8"],
)
@pytest.mark.usefixtures("small_heap")
def test_each_bound_holds_where_it_is_said_to(within: bytes, past: bytes) -> None:
    """
    What is at the bound is read, and one more is refused within a second.
    """
    assert read_header(within).tensors

    began = time.process_time()
    with pytest.raises(CheckpointError):
        read_header(past)
    assert time.process_time() - began < 1


@needs_proc
def test_a_million_tensors_cost_nothing(tmp_path: Path, times: Times, figure: Figure) -> None:
    """
    A file that declares a million tensors is refused at once, and no memory is spent on it.
    """
    count = times(1_000_000, 50_000)
    header = b"{" + b",".join(b'"t%d":%s' % (i, json.dumps(NONE).encode()) for i in range(count)) + b"}"
    (tmp_path / "model.safetensors").write_bytes(raw_file(header))
    (tmp_path / "config.json").write_text('{"hidden_size": 4, "num_layers": 2}')

    told = run(
        """
        before, began = peak(), time.process_time()
        report = verify_head(HEAD, Path(sys.argv[1]), entry=None)
        print(json.dumps({
            "ok": report.ok, "seconds": time.process_time() - began, "bytes": peak() - before,
            "said": next(found.detail for found in report.findings if found.check == "format"),
        }))
        """,
        tmp_path,
    )

    figure(
        7,
        f"a header of {count:,} tensors ({len(header) >> 20} MiB): refused in {1000 * told['seconds']:.0f} ms "
        f"and {told['bytes'] / 2**20:.1f} MiB",
    )
    assert not told["ok"]
    assert "more than 1048576" in told["said"]
    assert told["seconds"] < 1
    assert told["bytes"] < 32 << 20


@needs_proc
def test_verify_holds_no_file_in_memory(tmp_path: Path, times: Times, figure: Figure) -> None:
    """
    A head is verified, hash, structure and numbers, in less than 1.5 times its file, interpreter included.
    """
    width = times(8_874, 4_000)  # 315 MB, the largest head that is published
    tensors = {
        "model.0.linear.weight": np.ones((width, width), np.float32),
        "model.0.linear.bias": np.ones(width, np.float32),
        "model.1.weight": np.ones((2, width), np.float32),
        "model.1.bias": np.ones(2, np.float32),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": width, "num_layers": 1}))
    size = (tmp_path / "model.safetensors").stat().st_size

    told = run(
        """
        from registry.lock import lock_folder
        folder = Path(sys.argv[1])
        entry = lock_folder(folder)
        before = peak()
        report = verify_head(HEAD, folder, entry=entry)
        print(json.dumps({"ok": report.ok, "whole": peak(), "more": peak() - before}))
        """,
        tmp_path,
    )

    figure(
        7,
        f"verify of a head of {size / 1e6:.0f} MB: peak {told['whole'] / 1e6:.0f} MB, interpreter included "
        f"({told['whole'] / size:.2f} of the file; the work itself takes {told['more'] / 1e6:.1f} MB)",
    )
    assert told["ok"]
    assert told["whole"] < 1.5 * size


def test_a_file_cut_while_it_is_loaded_kills_nobody(tmp_path: Path, times: Times, figure: Figure) -> None:
    """
    While another process cuts and restores the file, each load and each check ends with its bytes or an error.
    """
    width, rounds = 1_024, times(200, 10)
    tensors = {"model.0.weight": np.ones((2, width), np.float32), "model.0.bias": np.ones(2, np.float32)}
    more = {"pad": np.zeros(1 << 20, np.float32)}  # long enough that a cut falls into the reading
    save_file({**tensors, **more}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": width, "num_layers": 0}))
    size = (tmp_path / "model.safetensors").stat().st_size
    recorded = digest(tmp_path / "model.safetensors")
    cutter = subprocess.Popen([sys.executable, "-c", CUTTER, str(tmp_path / "model.safetensors")])
    try:
        told = run(
            """
            import hashlib
            folder, rounds, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
            record = FileRecord(size_bytes=size, sha256=sys.argv[4])
            entry = LockEntry(files={"model.safetensors": record})
            whole = errors = leaks = 0
            while whole + errors < 3 * rounds or not (errors and whole):
                for read in (
                    lambda: read_verified(folder, entry, ["model.safetensors"])["model.safetensors"],
                    lambda: read_verified_buffer(folder, entry, "model.safetensors"),
                ):
                    try:
                        leaks += hashlib.sha256(read()).hexdigest() != record.sha256
                        whole += 1
                    except CheckpointError:
                        errors += 1
                report = verify_head(HEAD, folder, entry=entry)
                cut = any(file.path == "model.safetensors" and file.fault for file in report.files)
                errors, whole = errors + cut, whole + (not cut)
            print(json.dumps({"whole": whole, "errors": errors, "leaks": leaks}))
            """,
            tmp_path,
            rounds,
            size,
            recorded,
        )
    finally:
        cutter.kill()
        cutter.wait()

    figure(
        7,
        f"a file cut while it is read: {told['errors']:,} errors, {told['whole']:,} whole, "
        f"{told['leaks']} leaks, no process killed",
    )
    assert told["leaks"] == 0
    assert told["errors"] > 0


CUTTER = """
import sys, time
content = open(sys.argv[1], "rb").read()
while True:
    with open(sys.argv[1], "r+b") as stream:
        stream.truncate(len(content) // 2)
        stream.write(content)
    time.sleep(0.02)
"""


def digest(path: Path) -> str:
    """The file's sha256 as it is now."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
