"""The only program of specreg that unpickles: a process of its own, which takes bytes and gives bytes.

`heads.sandbox` starts it as a script; nothing imports it. It reads no file after its start, and of its own
packages it loads only what it names: not their front doors, which would bring transformers along.

It loads torch once. Then, for each request, it forks: the fork gives up what `heads.confinement` lists,
reads one pickle and ends, so that no process meets two pickles and the one that lives on meets none. Where a
process cannot safely fork (macOS, Windows) it serves one request itself and ends.

| on standard input | on standard output |
|---|---|
| | `ready`, a newline |
| a byte; 8 bytes of length; the request, JSON; the pickle | 8 bytes of length; the answer, JSON; the safetensors file |

It ends with 0 when its input ends, and as a fork ended when one does not end well (128 and its number for a
signal).
"""

from __future__ import annotations

import codecs
import gc
import hashlib
import io
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NoReturn

if __name__ == "__main__":
    sys.path[:] = json.loads(sys.argv[1])  # as the parent finds its libraries
    for _package in ("heads", "registry"):
        _bare = ModuleType(_package)
        _bare.__path__ = [str(Path(__file__).parent.parent / _package)]
        sys.modules[_package] = _bare

import torch

from heads.confinement import seal
from heads.encoding import DTYPES, encoded, raw_bytes
from heads.pickled import read_pickled
from registry.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Sequence

IN: Final = 0
OUT: Final = 1
FAILED: Final = 3
NO_MEMORY: Final = 4
SIGNALLED: Final = 128  # as shells say it: 128 and the signal's number
FORKS: Final = sys.platform == "linux"


def serve() -> None:
    """Answer requests until the input ends."""
    torch.set_num_threads(1)
    gc.disable()  # nothing lives long here, and a deep nest of lists would be walked again and again
    _warm_up()
    _write([memoryview(b"ready\n")])
    while os.read(IN, 1):
        if not FORKS:
            _answer_and_end()
        fork = os.fork()
        if fork == 0:
            _answer_and_end()
        code = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
        if code != 0:
            sys.exit(code if code > 0 else SIGNALLED - code)


def _answer_and_end() -> NoReturn:
    code = FAILED
    try:
        code = _answer()
    finally:
        os._exit(code)  # at once: what an ordinary end would still run may need files


def _answer() -> int:
    request: dict[str, Any] = json.loads(_read(int.from_bytes(_read(8), "little")))
    seal(memory_bytes=request["memory_bytes"], cpu_s=request["cpu_s"], wall_s=request["wall_s"])
    shapes = {name: tuple(shape) for name, shape in request["shapes"].items()}
    parts: Sequence[memoryview] = ()
    try:
        tensors, shared = read_pickled(_read(request["size_bytes"]), shapes)
    except MemoryError:
        return NO_MEMORY
    except (OSError, ImportError):
        answer: dict[str, object] = {"problems": ["it asks for a file, and a converter has none to give"]}
    except CheckpointError as error:
        answer = {"problems": list(error.problems)}
    else:
        parts = encoded(tensors, shared=shared)
        digests = {
            name: [DTYPES[tensor.dtype], list(tensor.shape), hashlib.sha256(raw_bytes(tensor)).hexdigest()]
            for name, tensor in tensors.items()
        }
        answer = {"tensors": digests}
    answer |= {"nonce": request["nonce"], "size_bytes": sum(part.nbytes for part in parts)}
    text = json.dumps(answer).encode()
    _write([memoryview(len(text).to_bytes(8, "little")), memoryview(text), *parts])
    return 0


def _warm_up() -> None:
    """Have everything loaded that reading a pickle needs: later no file can be opened."""
    for encoding in ("ascii", "latin-1", "utf-8", "cp437"):  # the last is how zipfile reads old names
        codecs.lookup(encoding)
    stream = io.BytesIO()
    torch.save({"": torch.zeros(1)}, stream)
    for content in (stream.getvalue(), b""):
        try:
            read_pickled(content, {"": (1,)})
        except CheckpointError:
            continue


def _read(count: int) -> bytes:
    with open(IN, "rb", buffering=0, closefd=False) as stream:
        content = bytearray(count)
        at = 0
        while at < count:
            got = stream.readinto(memoryview(content)[at:])
            if not got:
                raise EOFError("the parent went away")
            at += got
    return bytes(content)


def _write(parts: Sequence[memoryview]) -> None:
    for part in parts:
        at = 0
        while at < part.nbytes:
            at += os.write(OUT, part[at:])


if __name__ == "__main__":
    serve()
