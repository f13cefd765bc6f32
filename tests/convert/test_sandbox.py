"""The sandbox from outside: a process that fails, lies or never ends leaves its parent with an error."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from heads import worker
from heads.sandbox import Limits, Sandbox
from registry.errors import CheckpointError, UsageError
from registry.files.layout import parse_head_config
from tests.convert.payloads import CONFIG, FILL, STALL, head_of, saved
from tests.convert.rooms import warm

SIZES = parse_head_config(CONFIG)
FILE = "pytorch_model.bin"
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

# Stands in for a converter that a pickle has taken over: it reads a request as it should, and then does as it likes.
TAKEN = """
import hashlib, json, os, sys, time
def read(count):
    content = b''
    while len(content) < count:
        content += os.read(0, count - len(content))
    return content
def answer(weights, **changes):
    told = {'nonce': request['nonce'], 'size_bytes': len(weights), 'tensors': tensors} | changes
    text = json.dumps(told).encode()
    send(len(text).to_bytes(8, 'little') + text + weights)
def send(content):
    while content:
        content = content[os.write(1, content):]
os.write(1, b'ready\\n')
read(1)
request = json.loads(read(int.from_bytes(read(8), 'little')))
read(request['size_bytes'])
names = sorted(request['shapes'])
def file_of(value, shapes=request['shapes']):
    header, parts, told = {}, b'', {}
    for name in sorted(shapes):
        data = value * (len(b'1') if not shapes[name] else __import__('math').prod(shapes[name]))
        header[name] = {'dtype': 'F32', 'shape': shapes[name], 'data_offsets': [len(parts), len(parts) + len(data)]}
        parts += data
        told[name] = ['F32', shapes[name], hashlib.sha256(data).hexdigest()]
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, 'little') + text + parts, told
weights, tensors = file_of(b'\\0\\0\\x80?')
"""


def taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> Sandbox:
    """A sandbox whose program does as it likes once it has its pickle."""
    (tmp_path / "taken.py").write_text(TAKEN + does)
    monkeypatch.setattr(worker, "PROGRAM", tmp_path / "taken.py")
    return Sandbox(Limits(wall_s=1))


def refusal(sandbox: Sandbox, pickle: bytes = b"pickle" * 1000) -> str:
    with sandbox, pytest.raises(CheckpointError) as caught:
        sandbox.convert(pickle, SIZES, file=FILE)
    assert "Nothing was converted" in str(caught.value)
    assert sandbox.pid is None
    return caught.value.problems[0]


def test_one_that_keeps_to_the_form_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The stand-in of these tests can answer rightly, so that what they refuse is what they say.
    """
    with taken_over(tmp_path, monkeypatch, "answer(weights)") as sandbox:
        assert len(sandbox.convert(b"pickle" * 1000, SIZES, file=FILE)) > 0


@pytest.mark.parametrize(
    ("does", "problem"),
    [
        pytest.param("send(b'garbage ' * 1000)", "an answer of", id="garbage"),
        pytest.param("send((5).to_bytes(8, 'little') + b'hello')", "no answer", id="no JSON"),
        pytest.param("answer(weights, nonce='another')", "not to this request", id="another's answer"),
        pytest.param("answer(weights, size_bytes=1 << 40)", "expected at most", id="too large a file"),
        pytest.param("answer(weights, size_bytes=-1)", "expected at most", id="a negative file"),
        pytest.param("answer(weights, size_bytes=True)", "expected at most", id="no size"),
        pytest.param("answer(b'', problems=7)", "no reason given", id="no reason"),
        pytest.param(
            "answer(b'', problems=['\\033[2J' + 'x' * 9999])",
            r"\?\[2Jx",
            id="a reason that clears the screen",
        ),
        pytest.param("answer(weights[:-1])", "end at byte", id="a torn file"),
        pytest.param("answer(weights, tensors={})", "bit for bit", id="no digests"),
        pytest.param("answer(file_of(b'\\0\\0\\0\\0')[0])", "bit for bit", id="other numbers"),
        pytest.param("answer(file_of(b'\\0\\0\\xc0\\x7f')[0])", "not finite", id="numbers that are none"),
        pytest.param(
            "answer(file_of(b'\\0\\0\\x80?', {'a': [1]})[0])", "num_layers|not expected", id="names"
        ),
        pytest.param(
            "answer(weights[:99], size_bytes=9000); sys.exit(0)", "ended with code 0", id="half, then gone"
        ),
        pytest.param("sys.exit(4)", "more memory", id="out of memory"),
        pytest.param("sys.exit(7)", "ended with code 7", id="gone"),
        pytest.param("os.kill(os.getpid(), 11)", "signal SIGSEGV", id="crashed"),
        pytest.param("os.kill(os.getpid(), 9)", "was killed", id="killed"),
        pytest.param("os.write(1, b'\\0'); time.sleep(60)", "longer than 1 s", id="slow"),
        pytest.param(
            "answer(weights, size_bytes=9000)\nwhile True: os.write(1, b'x')", "end at byte", id="endless"
        ),
    ],
)
@posix
def test_one_that_lies_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, problem: str
) -> None:
    """
    Nothing it hands over is taken unless it is a head's file and bit for bit what it said was in the pickle.
    """
    assert re.search(problem, refusal(taken_over(tmp_path, monkeypatch, does)))


def test_one_that_does_not_start_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The reason it gave is told, and it is no fault of the head.
    """
    (tmp_path / "broken.py").write_text("raise ImportError('no torch here')")
    monkeypatch.setattr(worker, "PROGRAM", tmp_path / "broken.py")

    with Sandbox() as sandbox, pytest.raises(UsageError, match=r"did not start.*no torch here"):
        sandbox.convert(b"", SIZES, file=FILE)


@linux
def test_a_pickle_that_never_ends_is_ended() -> None:
    """
    By the clock it was given; the sandbox then takes the next pickle with another process.
    """
    (never, *_) = STALL.values()
    with Sandbox(Limits(wall_s=1)) as sandbox:
        sandbox.start()
        began = time.monotonic()
        with pytest.raises(CheckpointError, match="longer than 1 s"):
            sandbox.convert(never(Path()), SIZES, file=FILE)
        assert time.monotonic() - began < 5


@linux
@pytest.mark.parametrize("payload", ["huge bytearray", "huge storage", "stored stride 0"])
def test_what_asks_for_too_much_memory_is_refused(payload: str) -> None:
    """
    A kilobyte that asks for gigabytes gets none of them, and the process it was forked from lives on.
    """
    before = warm().start().pid
    with pytest.raises(CheckpointError, match=r"memory|does not match|expected shape"):
        warm().convert(FILL[payload](Path()), SIZES, file=FILE)

    assert warm().pid == before


@linux
def test_a_killed_process_is_said_and_replaced() -> None:
    """
    After kill -9 the pickle at hand is refused with the reason, and the next one is converted.
    """
    pickle = saved(head_of().state_dict())
    sandbox = warm()
    os.kill(sandbox.start().pid, signal.SIGKILL)

    with pytest.raises(CheckpointError, match="was killed"):
        sandbox.convert(pickle, SIZES, file=FILE)
    assert sandbox.convert(pickle, SIZES, file=FILE)


@linux
def test_the_process_inherits_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """
    No token and no other variable of ours, no open file of ours, and an empty folder to stand in.
    """
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    (tmp_path / "taken.py").write_text("import os, time\nos.write(1, b'ready\\n')\ntime.sleep(60)")
    monkeypatch.setattr(worker, "PROGRAM", tmp_path / "taken.py")
    with (tmp_path / "secret").open("w") as secret, Sandbox() as sandbox:
        os.set_inheritable(secret.fileno(), True)
        process = Path(f"/proc/{sandbox.start().pid}")
        environment = (process / "environ").read_bytes().split(b"\0")
        names = {line.partition(b"=")[0].decode() for line in environment if line}

        assert names <= {*worker.PASSED_ON, *worker.THREADS, "LC_CTYPE"}
        assert {path.name for path in (process / "fd").iterdir()} == {"0", "1", "2"}
        assert list((process / "cwd").iterdir()) == []
