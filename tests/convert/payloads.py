"""Pickles that want something: to run, to fill the memory, to take for ever, or to pass for a head.

All are files named pytorch_model.bin beside a config of SIZES. Each is written opcode by opcode or by the
real library, none is ever loaded here.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from heads import AcceptancePredictionHead

SIZES = {"hidden_size": 4, "num_layers": 3}
CONFIG = json.dumps(SIZES).encode()
HUGE = 1 << 40
Make = Callable[[Path], bytes]


def head_of(*, shared: bool = False, seed: int = 0) -> AcceptancePredictionHead:
    """A head of SIZES."""
    torch.manual_seed(seed)
    return AcceptancePredictionHead(SIZES, shared=shared)


def saved(content: object, **options: Any) -> bytes:
    """As torch.save writes it."""
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def state(**changes: Any) -> dict[str, Any]:
    """The tensors of a head, some of them replaced."""
    return {**head_of().state_dict(), **changes}


def archive(pickled: bytes, storages: Iterable[bytes] = (b"\0" * 64,)) -> bytes:
    """The archive that torch.save would write around a pickle and its storages."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/byteorder", b"little")
        for number, content in enumerate(storages):
            file.writestr(f"archive/data/{number}", content)
        file.writestr("archive/version", b"3\n")
    return stream.getvalue()


class Calls:
    """Unpickled without care, it calls."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


def call(module: str, name: str, *arguments: object) -> bytes:
    """A pickle that calls `module.name(*arguments)`, opcode by opcode."""
    pushed = b"".join(pickle.dumps(argument, protocol=2)[2:-1] for argument in arguments)
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"(" + pushed + b"tR."


def touch(canary: Path) -> str:
    """A shell command that leaves a trace."""
    return f"touch {canary}"


def python(canary: Path) -> str:
    """A line of Python that leaves a trace."""
    return f"__import__('pathlib').Path({str(canary)!r}).touch()"


def compressed(canary: Path) -> bytes:  # noqa: ARG001 - of the form of all the others
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("archive/data.pkl", pickle.dumps({}, protocol=2))
        file.writestr("archive/data/0", bytes(200 << 20))
    return stream.getvalue()


def claiming(canary: Path) -> bytes:  # noqa: ARG001
    """A stored entry of 64 bytes whose directory says 4 GB."""
    content = bytearray(archive(pickle.dumps({}, protocol=2)))
    at = content.index(b"PK\x01\x02", content.rindex(b"archive/data/0") - 60)
    struct.pack_into("<II", content, at + 20, 0xFFFFFFF0, 0xFFFFFFF0)
    return bytes(content)


def overlapping_entries(canary: Path) -> bytes:  # noqa: ARG001
    """A thousand entries of a megabyte each that are one and the same megabyte."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({}, protocol=2))
        file.writestr("archive/data/0", bytes(1 << 20))
        first = file.getinfo("archive/data/0")
        for number in range(1, 1000):
            info = zipfile.ZipInfo(f"archive/data/{number}")
            info.header_offset, info.CRC = first.header_offset, first.CRC
            info.file_size = info.compress_size = first.file_size
            file.filelist.append(info)
            file.NameToInfo[info.filename] = info
    return stream.getvalue()


def twice(canary: Path) -> bytes:
    """Two entries called data.pkl: a harmless one for whoever looks, another for whoever loads."""
    first = archive(pickle.dumps({}, protocol=2))
    stream = io.BytesIO(first)
    with zipfile.ZipFile(stream, "a") as file:
        file.filelist[0].orig_filename = file.filelist[0].filename
        del file.NameToInfo["archive/data.pkl"]
        file.writestr("archive/data.pkl", call("os", "system", touch(canary)))
    return stream.getvalue()


def two_directories(canary: Path) -> bytes:
    """One archive behind another: readers disagree on which is meant."""
    return archive(call("os", "system", touch(canary))) + saved(state())


def script(canary: Path) -> bytes:
    """A TorchScript archive, whose code would run on loading."""
    stream = io.BytesIO(archive(call("os", "system", touch(canary))))
    with zipfile.ZipFile(stream, "a") as file:
        file.writestr("archive/constants.pkl", pickle.dumps((), protocol=2))
        file.writestr("archive/code/__torch__.py", python(canary))
    return stream.getvalue()


def tar(canary: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        for name in ("storages", "tensors", "pickle"):
            content = call("os", "system", touch(canary))
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def nested(canary: Path) -> bytes:  # noqa: ARG001
    depth = 200_000
    return archive(b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".")


def doubled(last: bytes, levels: int = 60) -> bytes:
    """A tuple of two of a tuple of two ...: as little in memory as 60 tuples, as much to walk as 2 to the 60."""
    steps = [b"\x80\x02)q\0"]
    for level in range(levels):
        got = b"h" + bytes([level])
        steps.append(got + got + b"\x86q" + bytes([level + 1]))
    return archive(b"".join(steps) + last)


def storage(key: str, count: int, location: str = "cpu") -> bytes:
    """A persistent id of a storage, as the pickle of a tensor names it."""
    parts = b"".join(pickle.dumps(part, protocol=2)[2:-1] for part in (key, location, count))
    return b"(" + pickle.dumps("storage", protocol=2)[2:-1] + b"ctorch\nFloatStorage\n" + parts + b"tQ"


def tensor(stored: bytes, shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    """A state dict with one tensor rebuilt from a storage."""
    numbers = b"".join(pickle.dumps(part, protocol=2)[2:-1] for part in (offset, shape, stride, False))
    hooks = b"ccollections\nOrderedDict\n)R"
    name = pickle.dumps("model.3.bias", protocol=2)[2:-1]
    rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n(" + stored + numbers + hooks + b"tR"
    return archive(b"\x80\x02}" + name + rebuilt + b"s.")


def spread(canary: Path) -> bytes:  # noqa: ARG001
    """Every block a view into one storage, each a number further on."""
    shared = torch.zeros(64)
    blocks = {f"model.{i}.linear.weight": shared[i : i + 16].view(4, 4) for i in range(3)}
    return saved(state(**blocks))


def quantised(canary: Path) -> bytes:  # noqa: ARG001
    return saved(
        state(**{"model.0.linear.weight": torch.quantize_per_tensor(torch.ones(4, 4), 0.1, 0, torch.qint8)})
    )


def negated(canary: Path) -> bytes:  # noqa: ARG001
    return saved(state(**{"model.3.bias": torch._neg_view(torch.ones(2))}))


RUN: dict[str, Make] = {
    "os.system": lambda c: archive(call("os", "system", touch(c))),
    "posix.system": lambda c: saved(state(**{"model.3.bias": Calls(os.system, touch(c))})),
    "os.mkdir, nested": lambda c: saved({"model": [{"deep": (Calls(os.mkdir, str(c)),)}]}),
    "eval": lambda c: archive(call("builtins", "eval", python(c))),
    "exec": lambda c: archive(call("builtins", "exec", python(c))),
    "old eval": lambda c: archive(call("__builtin__", "eval", python(c))),
    "subprocess.call": lambda c: saved({"x": Calls(subprocess.call, ["touch", str(c)])}),
    "subprocess.Popen": lambda c: archive(call("subprocess", "Popen", ["touch", str(c)])),
    "open": lambda c: archive(call("builtins", "open", str(c), "w")),
    "torch.load": lambda c: archive(call("torch", "load", str(c))),
    "allow-list": lambda c: archive(
        call("torch.serialization", "add_safe_globals", [os.system])[:-1]
        + b"0"
        + call("os", "system", touch(c))[2:]
    ),
    "runpy": lambda c: archive(call("runpy", "_run_code", python(c), {})),
    "dotted": lambda c: archive(
        b"\x80\x04\x8c\x05torch\x8c\x14serialization.os.sys\x93." + touch(c).encode()
    ),
    "bare pickle": lambda c: pickle.dumps(Calls(os.system, touch(c))),
    "before 1.6": lambda c: saved({"x": Calls(os.system, touch(c))}, _use_new_zipfile_serialization=False),
    "tar": tar,
    "TorchScript": script,
    "data.pkl twice": twice,
    "two directories": two_directories,
}
FILL: dict[str, Make] = {
    "deflated bomb": compressed,
    "claimed size": claiming,
    "overlapping entries": overlapping_entries,
    "5,000 entries": lambda _c: archive(pickle.dumps({}, protocol=2), [b""] * 5000),
    "stride 0": lambda _c: tensor(storage("0", 16), (HUGE,), (0,)),
    "stored stride 0": lambda _c: saved(state(**{"model.3.bias": torch.zeros(1).expand(HUGE)})),
    "huge storage": lambda _c: tensor(storage("0", HUGE), (2,), (1,)),
    "huge bytearray": lambda _c: archive(call("builtins", "bytearray", 1 << 36)),
    "many bytearrays": lambda _c: archive(
        b"\x80\x02(" + call("builtins", "bytearray", 64 << 20)[2:-1] * 4000 + b"l."
    ),
    "long integer": lambda _c: archive(
        b"\x80\x02\x8b" + struct.pack("<i", 900_000) + b"\x7f" * 900_000 + b"."
    ),
    "long string": lambda _c: archive(pickle.dumps({"x" * (900 << 10): 1}, protocol=2)),
    "a large pickle": lambda _c: archive(pickle.dumps(list(range(500_000)), protocol=2)),
    "deep nesting": nested,
}
STALL: dict[str, Make] = {
    "a key that takes for ever to hash": lambda _c: doubled(b"}h\x3cNs."),
    "a set that takes for ever to hash": lambda _c: doubled(b"c__builtin__\nset\n(]h\x3catR."),
}
PASS: dict[str, Make] = {
    "laughs": lambda _c: doubled(b"h\x3c."),
    "sparse": lambda _c: saved(state(**{"model.0.linear.weight": torch.zeros(4, 4).to_sparse()})),
    "quantised": quantised,
    "meta": lambda _c: saved(state(**{"model.3.bias": torch.zeros(2, device="meta")})),
    "negated": negated,
    "one number, expanded": lambda _c: saved(state(**{"model.0.linear.weight": torch.zeros(1).expand(4, 4)})),
    "overlapping storages": spread,
    "past its storage": lambda _c: tensor(storage("0", 1), (2,), (1,), 15),
    "a storage outside": lambda _c: tensor(storage("../../../../etc/passwd", 16), (2,), (1,)),
    "a storage elsewhere": lambda _c: tensor(storage("0", 16, "cuda:0"), (2,), (1,)),
    "an id of another kind": lambda _c: archive(b"\x80\x02X\x06\0\0\0moduleQ."),
    "an id by text": lambda _c: archive(b"Pfile:///etc/passwd\n."),
    "a dict that lies": lambda _c: saved(OrderedDict(state(items=1, __class__=2))),
}
PAYLOADS: dict[str, Make] = {**RUN, **FILL, **STALL, **PASS}


def write(folder: Path, payload: bytes) -> Path:
    """A head's folder with a payload for its weights."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(CONFIG)
    (folder / "pytorch_model.bin").write_bytes(payload)
    return folder
