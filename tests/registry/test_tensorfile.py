"""The strict check of a safetensors file."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import deserialize
from safetensors.numpy import save

from registry.errors import CheckpointError
from registry.files.tensorfile import MAX_HEADER_BYTES, PREFIX_BYTES, TensorFile, read_header
from tests.registry.stored import head_tensors, raw_file

ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
NONE = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
ONE_TEXT = json.dumps(ONE).encode()
FOUR_BYTES = b"\0" * 4


def entry(**changes: Any) -> dict[str, Any]:
    """A header of one tensor, changed."""
    return {"a": {**ONE, **changes}}


def reads_alike(found: TensorFile, content: bytes) -> bool:
    """Whether the library reads the same names, dtypes, shapes and bytes."""
    read: Any = deserialize
    theirs = {
        name: (facts["dtype"], tuple(facts["shape"]), bytes(facts["data"])) for name, facts in read(content)
    }
    ours = {
        name: (info.dtype, info.shape, content[found.data_start :][info.start : info.end])
        for name, info in found.tensors.items()
    }
    return ours == theirs


def test_views_hold_what_was_saved() -> None:
    """
    A view has the saved values and shape, and is a window on the bytes handed in.
    """
    tensors = {**head_tensors(), "scalar": np.array(3, np.int64), "empty": np.empty((0, 3), np.float16)}
    content = save(tensors, {"format": "pt"})

    found = read_header(content)

    assert found.metadata == {"format": "pt"}
    for name, expected in tensors.items():
        np.testing.assert_array_equal(found.view(name), expected, strict=True)
    view = found.view("model.0.linear.weight")
    assert np.shares_memory(view, np.frombuffer(content, np.uint8))
    assert not view.flags.writeable


def test_bfloat16_comes_as_bits() -> None:
    """
    numpy knows no bfloat16: the view holds the sixteen bits of each number.
    """
    header = entry(dtype="BF16", shape=[2])

    view = read_header(raw_file(header, b"\x80\x3f\x00\xc0")).view("a")

    assert view.dtype == np.uint16
    assert view.tolist() == [0x3F80, 0xC000]


@pytest.mark.parametrize(
    ("dtype", "number", "finite"),
    [
        ("F64", "000000000000f07f", False),
        ("F64", "ffffffffffffef7f", True),
        ("F32", "0000c07f", False),
        ("F32", "000080ff", False),
        ("F32", "ffff7f7f", True),
        ("F16", "007c", False),
        ("F16", "ff7b", True),
        ("BF16", "80ff", False),
        ("BF16", "c17f", False),
        ("BF16", "7f7f", True),
        ("C64", "000000000000c07f", False),
        ("F8_E5M2", "7c", False),
        ("F8_E4M3", "ff", False),
        ("F8_E4M3", "7e", True),
        ("F8_E8M0", "ff", False),
        ("F8_E4M3FNUZ", "80", False),
        ("F8_E4M3FNUZ", "ff", True),
        ("I32", "0000c07f", True),
        ("BOOL", "01", True),
    ],
)
def test_numbers_that_are_not_finite_are_seen(dtype: str, number: str, finite: bool) -> None:
    """
    NaN and the infinities are told from the largest finite numbers in every floating dtype.
    """
    data = bytes.fromhex(number)

    found = read_header(raw_file(entry(dtype=dtype, data_offsets=[0, len(data)]), data))

    assert found.not_finite() == (() if finite else ("a",))


def test_one_bad_number_among_millions_is_seen() -> None:
    """
    The finite check looks at the last number of a tensor longer than one of its steps.
    """
    tensor = np.zeros(300_001, np.float32)
    assert read_header(save({"a": tensor})).not_finite() == ()

    tensor[-1] = np.inf

    assert read_header(save({"a": tensor})).not_finite() == ("a",)


TWO_ZEROS = {"a": ONE, "b": {**ONE, "data_offsets": [4, 8]}}
REFUSED = {
    "empty file": (b"", "too short"),
    "seven bytes": (b"\0" * 7, "too short"),
    "no header": (b"\0" * 8, "does not begin with '{'"),
    "header past the end": ((99).to_bytes(8, "little") + b"{}", "past the end"),
    "header past 1 MiB": ((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}", "more than"),
    "length of all ones": (b"\xff" * 8 + b"{}", "more than"),
    "leading space": (raw_file(b" {}"), "does not begin"),
    "byte order mark": (raw_file("\ufeff{}".encode()), "does not begin"),
    "padded with a line end": (raw_file(b"{}\n"), "does not end"),
    "padded with zeros": (raw_file(b"{}\0\0"), "does not end"),
    "two objects": (raw_file(b"{}{}"), "not JSON"),
    "not UTF-8": (raw_file(b'{"\xff":1}'), "not UTF-8"),
    "cut short": (raw_file(b'{"a":{"dtype":"F32"}'), "not JSON"),
    "a list": (raw_file(b"[]"), "does not begin"),
    "nested for ever": (raw_file(b'{"a":' * 100_000 + b"}"), "nested too deeply"),
    "key twice": (raw_file(b'{"a":%(one)b,"a":%(one)b}' % {b"one": ONE_TEXT}, FOUR_BYTES), "twice"),
    "field twice": (raw_file(b'{"a":{"dtype":"F32","dtype":"I32"}}'), "twice"),
    "NaN": (raw_file(b'{"a":NaN}'), "no JSON number"),
    "a million digits": (raw_file(b'{"a":' + b"9" * 1_000_000 + b"}"), "1000000 digits"),
    "minus nought": (raw_file(b'{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}'), "-0"),
    "entry as a list": (raw_file({"a": ["F32", [1], [0, 4]]}, FOUR_BYTES), "expected an object"),
    "entry with more fields": (raw_file(entry(more=1), FOUR_BYTES), "expected an object"),
    "entry with fewer fields": (
        raw_file({"a": {"dtype": "F32", "shape": [1]}}, FOUR_BYTES),
        "expected an object",
    ),
    "unknown dtype": (raw_file(entry(dtype="F31"), FOUR_BYTES), "not known"),
    "dtype as a number": (raw_file(entry(dtype=32), FOUR_BYTES), "not known"),
    "packed dtype": (raw_file(entry(dtype="F4", shape=[8]), FOUR_BYTES), "packs several values"),
    "negative dimension": (raw_file(entry(shape=[-1]), FOUR_BYTES), "none negative"),
    "true as a dimension": (raw_file(entry(shape=[True]), FOUR_BYTES), "none negative"),
    "dimension with a point": (raw_file(entry(shape=[1.0]), FOUR_BYTES), "not an integer"),
    "huge dimension": (raw_file(entry(shape=[2**62]), FOUR_BYTES), "past any memory"),
    "huge dimensions of nothing": (
        raw_file(entry(shape=[2**40, 2**40, 0], data_offsets=[0, 0])),
        "past any memory",
    ),
    "rank nine": (raw_file(entry(shape=[1] * 9), FOUR_BYTES), "at most 8 dimensions"),
    "three offsets": (raw_file(entry(data_offsets=[0, 4, 4]), FOUR_BYTES), "two byte offsets"),
    "offsets as text": (raw_file(entry(data_offsets=["0", "4"]), FOUR_BYTES), "two byte offsets"),
    "offsets turned round": (raw_file(entry(data_offsets=[4, 0]), FOUR_BYTES), "takes 4 bytes"),
    "size of another shape": (raw_file(entry(shape=[2]), FOUR_BYTES), "takes 8 bytes"),
    "overlap": (raw_file({"a": ONE, "b": ONE}, FOUR_BYTES), "overlaps"),
    "empty tensor inside another": (
        raw_file({"a": ONE, "b": {**NONE, "data_offsets": [2, 2]}}, FOUR_BYTES),
        "overlaps",
    ),
    "hole": (raw_file({"a": ONE, "b": {**ONE, "data_offsets": [8, 12]}}, b"\0" * 12), "hole"),
    "hole at the start": (raw_file(entry(data_offsets=[4, 8]), b"\0" * 8), "hole"),
    "data cut short": (raw_file(TWO_ZEROS, b"\0" * 7), "end at byte 8"),
    "data left over": (raw_file(TWO_ZEROS, b"\0" * 9), "end at byte 8"),
    "metadata with a number": (raw_file({"__metadata__": {"a": 1}}), "text to text"),
    "metadata of null": (raw_file({"__metadata__": None}), "text to text"),
    "metadata key with an escape": (raw_file({"__metadata__": {"\x1b[2J": "a"}}), "control characters"),
    "empty name": (raw_file({"": ONE}, FOUR_BYTES), "empty or holds control"),
    "name with a zero": (raw_file({"a\0b": ONE}, FOUR_BYTES), "empty or holds control"),
    "name with half a character": (raw_file(b'{"\\ud800":1}'), "lone surrogate"),
    "4097 tensors": (raw_file({str(i): NONE for i in range(4097)}), "more than 4096"),
}


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_malformed_files_are_refused_by_name(content: bytes, reason: str) -> None:
    """
    Each way to break the format is refused within a second, naming the file and the reason.
    """
    began = time.perf_counter()

    with pytest.raises(CheckpointError) as caught:
        read_header(content, file="spoilt.safetensors")

    assert time.perf_counter() - began < 1
    assert reason in str(caught.value)
    assert str(caught.value).startswith("spoilt.safetensors is no sound safetensors file")
    assert len(str(caught.value)) < 500


def test_every_bad_tensor_is_named() -> None:
    """
    The error lists each tensor at fault, not only the first.
    """
    header = {"a": {**ONE, "dtype": "F31"}, "b": ONE, "c": {**ONE, "shape": [-1]}}

    with pytest.raises(CheckpointError) as caught:
        read_header(raw_file(header, FOUR_BYTES))

    assert [problem.split(":")[0] for problem in caught.value.problems] == ["tensor 'a'", "tensor 'c'"]


def test_a_beginning_is_enough_for_the_header() -> None:
    """
    With the size of the whole, the first bytes give the header, and no data to view.
    """
    content = save({"a": np.zeros(1 << 20, np.float32)})

    found = read_header(content[:PREFIX_BYTES], size_bytes=len(content))

    assert found.tensors == read_header(content).tensors
    with pytest.raises(CheckpointError, match="only the header"):
        found.view("a")


def test_every_cut_is_refused() -> None:
    """
    No beginning of a file passes for the file.
    """
    content = save(head_tensors())

    for length in range(len(content)):
        with pytest.raises(CheckpointError):
            read_header(content[:length])


SMALL = save({"a": np.ones((2, 2), np.float32), "b": np.ones(3, np.float16)}, {"format": "pt"})
HEADER_END = 8 + int.from_bytes(SMALL[:8], "little")
VALUES: st.SearchStrategy[Any] = st.sampled_from(
    ["F32", "I32", "U8", "BOOL", "a", "", -1, 0, 1, 2, 4, 16, 2**63, 2**64, 1.0, True, None, [], {}]
)


@st.composite
def spoilt_files(draw: st.DrawFn) -> bytes:
    """A small sound file with some bytes of its header changed, put in or taken out."""
    content = bytearray(SMALL)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, HEADER_END - 1))
        size = draw(st.integers(0, 2))
        content[at : at + size] = draw(
            st.sampled_from([b"", b"0", b"1", b" ", b'"', b",", b"{", b"}", b"[", b"a", b"\0"])
        )
    return bytes(content)


@st.composite
def odd_headers(draw: st.DrawFn) -> bytes:
    """A file whose header is well-formed JSON of the right keys with values that are odd now and then."""
    sizes = st.integers(0, 4)
    header: dict[str, Any] = {}
    at = 0
    for name in draw(st.lists(st.sampled_from("abcd"), unique=True)):
        shape = draw(st.lists(sizes, max_size=3))
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    for facts in header.values():
        if draw(st.booleans()) and draw(st.booleans()):
            facts[draw(st.sampled_from(["dtype", "shape", "data_offsets", "more"]))] = draw(
                st.one_of(VALUES, st.lists(VALUES, max_size=3))
            )
    return raw_file(header, b"\1" * at)


@pytest.mark.parametrize("files", [spoilt_files(), odd_headers()], ids=["bytes", "values"])
def test_nothing_is_read_as_something_else(files: st.SearchStrategy[bytes]) -> None:
    """
    A spoilt file is refused, or read exactly as the safetensors library reads it.
    """

    @settings(max_examples=200, deadline=None, derandomize=True, database=None)
    @given(files)
    def check(content: bytes) -> None:
        try:
            found = read_header(content)
        except CheckpointError:
            return
        assert reads_alike(found, content)

    check()
