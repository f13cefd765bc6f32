"""Promise 6: a malformed safetensors file is refused quickly and by name, and never read as something else."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from safetensors import deserialize
from safetensors.numpy import save

from registry.errors import CheckpointError
from registry.files.tensorfile import TensorFile, read_header

pytestmark = pytest.mark.promises

WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1} | {
    "U16": 2, "U32": 4, "U64": 8, "C64": 8,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1,
}  # fmt: skip
Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]
Json = Any

SOURCES = tuple(
    save(tensors, metadata)
    for tensors, metadata in (
        (
            {
                "model.0.weight": np.arange(4, dtype="f4").reshape(2, 2),
                "model.0.bias": np.arange(2, dtype="f4") - 7,
            },
            {"format": "pt", "model.1.linear.bias": "model.0.linear.bias"},
        ),
        ({"a": np.arange(6, dtype="f2").reshape(1, 2, 3), "b": np.arange(6, dtype="f2") + 9}, None),
        ({"a": np.arange(3, dtype="i8"), "b": np.empty((0, 2), "f4"), "c": np.array(5, "u1")}, {"x": "y"}),
    )
)
ODD: tuple[Json, ...] = (
    -1, -0.0, 0, 1, 2, 4, 2**31, 2**32, 2**63, 2**64, 10**19, 1.0, 4.0, 1e3, 1e400, float("nan"), True, None,
    "", "F32", "I32", "f32", "F4", "a", "\x00", "\ud800", [], [0], [0, 4], [4, 0], [0, 4, 8], [[0, 4]], {}, {"a": 1},
)  # fmt: skip
PIECES = (
    b"", b"0", b"1", b"9" * 30, b" ", b"\t", b"\n", b'"', b",", b":", b"{", b"}", b"[", b"]", b"-", b"+", b".",
    b"e1", b"E0", b"1e0", b"0x4", b"NaN", b"Infinity", b"\\u0061", b"\\ud800", b"\xff", b"\xef\xbb\xbf", b"\0",
    b"null", b"true", b"/**/", b"4.0", b"00", b"a",
)  # fmt: skip


class Twice(dict[str, Any]):
    """Marks an object in which a key stands twice."""


def plainly(content: bytes) -> Tensors | None:
    """What a file says, where it can be read in one way only; None where it says nothing or two things.

    Read apart from the code under test: the standard library's JSON, held to the format's own words.
    """
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length], content[8 + length :]
    sound = len(content) >= 8 and len(header) == length
    document = _object(header) if sound and header[:1] == b"{" and header.rstrip(b" ")[-1:] == b"}" else None
    if document is None:
        return None
    document.pop("__metadata__", None)
    tensors: Tensors = {}
    covered = 0
    for name, entry in sorted(document.items(), key=lambda item: _start(item[1])):
        span = _span(entry, covered)
        if span is None:
            return None
        covered += span
        tensors[name] = (entry["dtype"], tuple(entry["shape"]), data[covered - span : covered])
    return tensors if covered == len(data) else None


def _object(header: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(header.decode("utf-8"), object_pairs_hook=_once)
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return None
    return None if _holds_twice(document) else document


def _span(entry: Any, start: int) -> int | None:
    """How many bytes a tensor takes from `start` on; None where it does not say so."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        return None
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in WIDTHS or not _counts(shape):
        return None
    size = math.prod(shape) * WIDTHS[dtype]
    return size if _counts(offsets) and offsets == [start, start + size] else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return (dict if len(dict(pairs)) == len(pairs) else Twice)(pairs)


def _holds_twice(value: Any) -> bool:
    """Step by step: what is nested as deep as the reader goes, a function that calls itself cannot follow."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Twice):
            return True
        waiting += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
    return False


def _start(entry: Any) -> tuple[int, int]:
    offsets: Any = entry.get("data_offsets") if isinstance(entry, dict) else None
    return (offsets[0], offsets[1]) if _counts(offsets) and len(offsets) == 2 else (-1, -1)


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def ours(found: TensorFile, content: bytes) -> Tensors:
    """What our reading gives: dtype, shape and bytes of each tensor."""
    data = content[found.data_start :]
    return {
        name: (info.dtype, info.shape, data[info.start : info.end]) for name, info in found.tensors.items()
    }


def library(content: bytes) -> Tensors | None:
    """What the library alone gives; None where it refuses."""
    read: Any = deserialize
    try:
        return {
            name: (facts["dtype"], tuple(facts["shape"]), bytes(facts["data"]))
            for name, facts in read(content)
        }
    except BaseException as error:  # a panic of the library is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        return None


def split(content: bytes) -> tuple[bytes, bytes]:
    """Header and data of a sound file."""
    end = 8 + int.from_bytes(content[:8], "little")
    return content[8:end], content[end:]


def joined(header: bytes, data: bytes) -> bytes:
    """A file of any header."""
    return len(header).to_bytes(8, "little") + header + data


def spoil_bytes(draw: random.Random, content: bytes) -> bytes:
    """Some bytes of the header flipped, put in, or taken out; the length told anew, or not."""
    header, data = split(content)
    spoilt = bytearray(header)
    for _ in range(draw.randint(1, 3)):
        at, size = draw.randrange(len(spoilt) + 1), draw.choice((0, 0, 1, 1, 2, 5))
        spoilt[at : at + size] = draw.choice(PIECES)
    told = len(spoilt) if draw.random() < 0.8 else draw.choice((len(header), 0, 2**20 + 1, 2**63, 2**64 - 1))
    return told.to_bytes(8, "little") + bytes(spoilt) + data


def flip_bits(draw: random.Random, content: bytes) -> bytes:
    """One to three bits of length and header flipped."""
    header, data = split(content)
    spoilt = bytearray(content[: 8 + len(header)])
    for _ in range(draw.randint(1, 3)):
        spoilt[draw.randrange(len(spoilt))] ^= 1 << draw.randrange(8)
    return bytes(spoilt) + data


def spoil_values(draw: random.Random, content: bytes) -> bytes:
    """Well-formed JSON whose values are odd: other types, sizes, offsets, names, fields."""
    header, data = split(content)
    document: dict[str, Any] = json.loads(header)
    for _ in range(draw.randint(1, 2)):
        odd = deepcopy(ODD)  # so that no list of it comes to hold itself
        name = draw.choice(list(document))
        place = document[name]
        if not isinstance(place, dict) or draw.random() < 0.2:
            document[draw.choice((name, "new", ""))] = draw.choice((*odd, deepcopy(place)))
            continue
        key = draw.choice([*place, "more"])
        value = place.get(key)
        if isinstance(value, list) and value and draw.random() < 0.7:
            at = draw.randrange(len(value))
            value[at] = draw.choice((*odd, value[at] + 1, value[at] - 1) if type(value[at]) is int else odd)
        else:
            place[key] = draw.choice(odd)
    return joined(json.dumps(document).encode("utf-8", "surrogatepass"), data)


def say_twice(draw: random.Random, content: bytes) -> bytes:
    """A tensor, a field or the metadata said twice, alike or otherwise, plainly or by an escape."""
    header, data = split(content)
    document = json.loads(header)
    name = draw.choice(list(document))
    other = draw.choice(list(document))
    key = json.dumps(name)
    if draw.random() < 0.3:
        key = f'"\\u{ord(name[0]):04x}{name[1:]}"'
    said = f"{key}:{json.dumps(document[draw.choice((name, other))])}".encode()
    text = header.rstrip(b" ")
    if draw.random() < 0.5:
        return joined(b"{" + said + b"," + text[1:], data)
    if draw.random() < 0.5 and isinstance(document[name], dict) and document[name]:
        field = draw.choice(list(document[name]))
        inner = f'{json.dumps(field)}:{json.dumps(document[name][field])},"'.encode()
        return joined(text.replace(f'"{field}":'.encode(), inner + f'{field}":'.encode(), 1), data)
    return joined(text[:-1] + b"," + said + b"}", data)


def surround(draw: random.Random, content: bytes) -> bytes:
    """Something before or after the header, the data or the file."""
    header, data = split(content)
    odd = draw.choice((b" ", b"  ", b"\n", b"\t", b"\0", b"{}", b"\xef\xbb\xbf", b"//", b"a", b"0"))
    where = draw.randrange(5)
    if where == 0:
        return joined(odd + header, data)
    if where == 1:
        return joined(header + odd, data)
    if where == 2:
        return joined(header, odd + data)
    if where == 3:
        return content + odd
    return content[: draw.randrange(len(content))]


def nest(draw: random.Random, content: bytes) -> bytes:
    """Depth: far too deep, or merely odd."""
    header, data = split(content)
    depth = draw.choice((1, 2, 50, 1_000, 100_000)) if draw.random() < 0.05 else draw.choice((1, 2, 50))
    opening, closing = draw.choice(((b"[", b"]"), (b'{"a":', b"}")))
    deep = opening * depth + b"1" + closing * draw.choice((depth, depth - 1))
    return joined(header.rstrip(b" ")[:-1] + b',"deep":' + deep + b"}", data)


def swap(draw: random.Random, content: bytes) -> bytes:
    """Facts of two tensors exchanged: sound files among them, which say plainly what they hold."""
    header, data = split(content)
    document = json.loads(header)
    names = [name for name in document if name != "__metadata__"]
    one, other = draw.sample(names, 2)
    key = draw.choice(("dtype", "shape", "data_offsets"))
    document[one][key], document[other][key] = document[other][key], document[one][key]
    return joined(json.dumps(document).encode(), data)


MUTATIONS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    spoil_bytes, spoil_bytes, flip_bits, flip_bits, spoil_values, spoil_values, say_twice, surround, nest, swap,
)  # fmt: skip


@pytest.mark.usefixtures("small_heap")
def test_no_mutated_header_is_read_as_something_else(
    times: Callable[[int, int], int], figure: Callable[[int, str], None]
) -> None:
    """
    Every mutated file is refused by a CheckpointError within a second, or gives what its header plainly says.
    """
    draw = random.Random(6)  # noqa: S311
    count = times(100_000, 4_000)
    accepted = otherwise = library_otherwise = library_doubtful = 0
    slowest = 0.0
    for number in range(count):
        source = SOURCES[number % len(SOURCES)]
        content = MUTATIONS[number % len(MUTATIONS)](draw, source)
        found, took = timed(content)
        slowest = max(slowest, took)
        plain, theirs = plainly(content), library(content)
        if found is not None:
            accepted += 1
            read = ours(found, content)
            otherwise += read != plain or read != theirs
        if theirs is not None:
            library_otherwise += theirs != plain
            library_doubtful += found is None
    figure(
        6,
        f"{count:,} mutated headers: 0 crashes, slowest {1000 * slowest:.0f} ms, {accepted:,} are sound files, "
        f"{otherwise} read as something else (the library alone loads {library_otherwise:,} that do not plainly "
        f"say so, {library_doubtful:,} that we refuse)",
    )
    assert otherwise == 0
    assert slowest < 1
    assert accepted > 0
    assert library_otherwise > 0


def timed(content: bytes) -> tuple[TensorFile | None, float]:
    """Our reading, or None where it is refused by name, and the seconds it took. Any other error is a crash."""
    began = time.process_time()
    try:
        found = read_header(content, file="spoilt.safetensors")
    except CheckpointError:
        found = None
    return found, time.process_time() - began
