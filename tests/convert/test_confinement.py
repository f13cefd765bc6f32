"""What a sealed process can still do: nothing that this process could."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CONFINEMENT = Path(__file__).parent.parent.parent / "heads" / "confinement.py"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="all of the limits are Linux's only")

TRIES = {
    "read a file": "open('/etc/passwd').read()",
    "write a file": "open('written', 'w')",
    "write to what stays open": "os.write(3, b'x' * 10)",
    "open a socket": "socket.socket()",
    "make a pipe": "os.pipe()",
    "fork": "os._exit(0) if os.fork() == 0 else None",
    "start a thread": "threading.Thread(target=int).start()",
    "start a program": "subprocess.run(['true'])",
    "take a gigabyte": "bytearray(1 << 30)",
    "become root again": "os.setuid(0) if os.getuid() else 1 / 0",
    "lift a limit": "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))",
    "load a module": "import xml.dom",
}
PROGRAM = """
import importlib.util, json, os, resource, socket, subprocess, sys, threading
spec = importlib.util.spec_from_file_location('confinement', sys.argv[1])
room = importlib.util.module_from_spec(spec)
spec.loader.exec_module(room)
os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)
room.seal(memory_bytes=64 << 20, cpu_s=5, wall_s=20)
done = {}
for name, code in json.loads(sys.argv[3]).items():
    try:
        exec(code)
        done[name] = 'done'
    except BaseException as error:
        done[name] = type(error).__name__
os.write(1, json.dumps(done).encode())
os._exit(0)
"""


def test_a_sealed_process_can_do_nothing(tmp_path: Path) -> None:
    """
    No file, socket, process, thread or memory is to be had, the file that is open cannot grow, and no limit lifts.
    """
    (tmp_path / "empty").mkdir(mode=0o755)
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(CONFINEMENT), str(tmp_path / "open"), json.dumps(TRIES)],
        cwd=tmp_path / "empty",
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )

    outcomes = json.loads(ended.stdout)
    assert {name for name, outcome in outcomes.items() if outcome == "done"} == set()
    assert outcomes.keys() == TRIES.keys()
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize("limit", ["cpu_s=0, wall_s=30", "cpu_s=30, wall_s=0.2"], ids=["processor", "clock"])
def test_a_sealed_process_ends_in_time(tmp_path: Path, limit: str) -> None:
    """
    An endless loop is ended by the system, by either clock.
    """
    program = PROGRAM.replace("cpu_s=5, wall_s=20", limit).replace("done = {}", "while True: pass")

    ended = subprocess.run(
        [sys.executable, "-c", program, str(CONFINEMENT), str(tmp_path / "open"), "{}"],
        cwd=tmp_path,
        check=False,
        timeout=60,
    )

    assert ended.returncode < 0
