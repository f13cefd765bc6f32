"""A safetensors file, judged before any library touches it.

The format: eight bytes of header length (little-endian), a JSON header, then the tensors back to back.
The library's own reader lets some files through that say two things at once (a key twice, a leading
space, an entry as a list, fields nobody knows); here they are refused, by name. Nothing is copied, executed
or unpickled: a tensor is a numpy view of the bytes handed in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from registry.errors import CheckpointError
from registry.files.strictjson import StrictJSONError, parse_json, shown

MAX_HEADER_BYTES: Final = 1 << 20
MAX_TENSORS: Final = 4096
MAX_RANK: Final = 8
MAX_ELEMENTS: Final = 1 << 48
MAX_PROBLEMS: Final = 16
LENGTH_BYTES: Final = 8
PREFIX_BYTES: Final = LENGTH_BYTES + MAX_HEADER_BYTES
FINITE_STEP_BYTES: Final = 1 << 19  # what one step of the finite check holds in the processor's cache


@dataclass(frozen=True)
class _Encoding:
    """How a dtype lies in numpy, and what says 'not finite'.

    With `bits`, a number whose (bits & mask) == pattern; else numpy's own word where it knows the numbers.
    """

    array: str
    floating: bool = False
    bits: str = ""
    mask: int = 0
    pattern: int = 0


# numpy knows no bfloat16 and no 8-bit floats: those are viewed as unsigned integers of their width.
ENCODINGS: Final[Mapping[str, _Encoding]] = {
    "F64": _Encoding("<f8", True),
    "F32": _Encoding("<f4", True),
    # numpy converts each half-precision number first: its bits are ten times faster.
    "F16": _Encoding("<f2", True, "<u2", 0x7C00, 0x7C00),
    "BF16": _Encoding("<u2", True, "<u2", 0x7F80, 0x7F80),
    "F8_E5M2": _Encoding("u1", True, "u1", 0x7C, 0x7C),
    "F8_E4M3": _Encoding("u1", True, "u1", 0x7F, 0x7F),
    "F8_E8M0": _Encoding("u1", True, "u1", 0xFF, 0xFF),
    "F8_E5M2FNUZ": _Encoding("u1", True, "u1", 0xFF, 0x80),
    "F8_E4M3FNUZ": _Encoding("u1", True, "u1", 0xFF, 0x80),
    "C64": _Encoding("<c8"),
    "I64": _Encoding("<i8"),
    "I32": _Encoding("<i4"),
    "I16": _Encoding("<i2"),
    "I8": _Encoding("i1"),
    "U64": _Encoding("<u8"),
    "U32": _Encoding("<u4"),
    "U16": _Encoding("<u2"),
    "U8": _Encoding("u1"),
    "BOOL": _Encoding("?"),
}
PACKED: Final = frozenset({"F4", "F6_E2M3", "F6_E3M2"})  # several values share a byte: refused by name


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of the header; `start` and `end` are byte offsets into the tensor data."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def floating(self) -> bool:
        """Whether the dtype is a real floating one (complex is not)."""
        return ENCODINGS[self.dtype].floating


@dataclass(frozen=True)
class TensorFile:
    """A sound safetensors file: what it declares, and views of what it holds."""

    file: str
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    data_start: int
    size_bytes: int
    data: memoryview | None = field(repr=False, compare=False, default=None)

    def view(self, name: str) -> npt.NDArray[Any]:
        """The tensor as a numpy view of the file's bytes, shape as declared, nothing copied.

        BF16 comes as uint16 and 8-bit floats as uint8: the bits, not the values.

        Raises:
            KeyError: no tensor of that name.
            CheckpointError: only the header was handed in.
        """
        info = self.tensors[name]
        if self.data is None:
            raise self._header_only(name)
        span = self.data[self.data_start + info.start : self.data_start + info.end]
        return np.ndarray(info.shape, dtype=ENCODINGS[info.dtype].array, buffer=span)

    def not_finite(self) -> tuple[str, ...]:
        """Names of the tensors that hold NaN or an infinity, sorted."""
        return tuple(sorted(name for name in self.tensors if not self._finite(name)))

    def _finite(self, name: str) -> bool:
        info = self.tensors[name]
        step = FINITE_STEP_BYTES
        if self.data is None:
            raise self._header_only(name)
        span = self.data[self.data_start + info.start : self.data_start + info.end]
        return all(finite(span[at : at + step], info.dtype) for at in range(0, len(span), step))

    def _header_only(self, name: str) -> CheckpointError:
        return CheckpointError(f"{self.file}: only the header was read, not {name}.", path=self.file)


def finite(span: memoryview, dtype: str) -> bool:
    """Whether whole elements of `dtype` hold neither NaN nor an infinity. Integers are finite."""
    encoding = ENCODINGS[dtype]
    if not encoding.bits:
        numbers = np.frombuffer(span, dtype=encoding.array)
        return numbers.dtype.kind not in "fc" or bool(np.isfinite(numbers).all())
    bits = np.frombuffer(span, dtype=encoding.bits)
    mask, pattern = bits.dtype.type(encoding.mask), bits.dtype.type(encoding.pattern)
    sign = 1 << 8 * bits.itemsize - 1
    if mask == pattern and mask < sign and len(bits):
        # What is not finite has the largest exponent: with either sign, it is at one end of the integers.
        signed = bits.view(np.dtype(f"i{bits.itemsize}"))
        return bool(signed.max() < mask and bits.max() < sign | int(mask))
    return not bool(((bits & mask) == pattern).any())


def read_header(
    data: bytes | bytearray | memoryview, *, size_bytes: int | None = None, file: str = "model.safetensors"
) -> TensorFile:
    """Judge a safetensors file, all of it or its beginning.

    Args:
        data: The file's bytes; or at least its first PREFIX_BYTES, with `size_bytes` the size of the whole.
        size_bytes: Size of the whole file; None when `data` is the whole.
        file: What messages call the file.

    Raises:
        CheckpointError: the file is refused; `problems` says why, tensor by tensor.
    """
    whole = memoryview(data).cast("B").toreadonly()
    size = len(whole) if size_bytes is None else size_bytes
    header = _header_bytes(whole, size, file)
    try:
        entries = parse_json(header, floats=False)
    except StrictJSONError as error:
        _refuse(file, f"its header: {error}")
    if not isinstance(entries, dict):  # '{' stands first, so only for the type checker
        _refuse(file, "its header is not an object")
    metadata = _metadata(entries.pop("__metadata__", {}), file)
    if len(entries) > MAX_TENSORS:
        _refuse(file, f"its header declares {len(entries)} tensors, more than {MAX_TENSORS}")
    problems: list[str] = []
    tensors: dict[str, TensorInfo] = {}
    for name, entry in entries.items():
        found = _tensor(name, entry)
        if isinstance(found, str):
            problems.append(f"tensor {shown(name)}: {found}")
        else:
            tensors[name] = found
    data_start = LENGTH_BYTES + len(header)
    problems = problems or _span_problems(tensors, size - data_start)
    if problems:
        _refuse(file, *problems)
    return TensorFile(
        file=file,
        tensors=tensors,
        metadata=metadata,
        data_start=data_start,
        size_bytes=size,
        data=whole if len(whole) == size else None,
    )


def _header_bytes(data: memoryview, size: int, file: str) -> bytes:
    if min(len(data), size) < LENGTH_BYTES:
        _refuse(file, f"too short: {size} bytes, the header's length alone takes {LENGTH_BYTES}")
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        _refuse(file, f"a header of {length} bytes, more than {MAX_HEADER_BYTES}")
    if LENGTH_BYTES + length > min(len(data), size):
        _refuse(file, f"a header of {length} bytes, past the end of a file of {size}")
    header = bytes(data[LENGTH_BYTES : LENGTH_BYTES + length])
    if not header.startswith(b"{"):
        _refuse(file, "its header does not begin with '{'")
    if not header.rstrip(b" ").endswith(b"}"):  # the format pads with spaces and nothing else
        _refuse(file, "its header does not end with '}' and spaces")
    return header


def _metadata(value: object, file: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        _refuse(file, "its __metadata__ does not map text to text")
    unprintable = [key for key in value if not key.isprintable()]
    if unprintable:
        _refuse(file, f"a metadata key with control characters: {shown(unprintable[0])}")
    return value


def _tensor(name: str, entry: object) -> TensorInfo | str:
    """One entry of the header, or what is wrong with it."""
    if not name or not name.isprintable():
        return "a name that is empty or holds control characters"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        return "expected an object of dtype, shape and data_offsets"
    dtype = entry["dtype"]
    if not isinstance(dtype, str) or dtype not in ENCODINGS:
        packed = isinstance(dtype, str) and dtype in PACKED
        return f"dtype {shown(dtype)} " + ("packs several values into a byte" if packed else "is not known")
    return _spanned(dtype, entry["shape"], entry["data_offsets"])


def _spanned(dtype: str, shape: object, offsets: object) -> TensorInfo | str:
    if not isinstance(shape, list) or len(shape) > MAX_RANK or not all(_is_size(size) for size in shape):
        return f"expected at most {MAX_RANK} dimensions, none negative, got shape {shown(shape)}"
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_size(at) for at in offsets):
        return f"expected two byte offsets, got {shown(offsets)}"
    if math.prod(max(size, 1) for size in shape) > MAX_ELEMENTS:
        return f"shape {shown(shape)} is past any memory"
    needed = math.prod(shape) * np.dtype(ENCODINGS[dtype].array).itemsize
    if offsets[1] - offsets[0] != needed:
        return f"{dtype} of shape {shown(shape)} takes {needed} bytes, offsets {shown(offsets)} do not"
    return TensorInfo(dtype=dtype, shape=tuple(shape), start=offsets[0], end=offsets[1])


def _is_size(value: object) -> bool:
    return type(value) is int and value >= 0


def _span_problems(tensors: Mapping[str, TensorInfo], data_bytes: int) -> list[str]:
    """What keeps the tensors from lying back to back over all the data."""
    problems = []
    at = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if info.start != at:
            word = "overlaps the tensor before it" if info.start < at else "leaves a hole before it"
            problems.append(f"tensor {shown(name)}: begins at {info.start}, expected {at}: {word}")
        at = max(at, info.end)
    if at != data_bytes:
        problems.append(f"its tensors end at byte {at} of the data, the file holds {data_bytes}")
    return problems


def _refuse(file: str, *problems: str) -> NoReturn:
    more = len(problems) - 1
    rest = f" (and {more} more)" if more else ""
    raise CheckpointError(
        f"{file} is no sound safetensors file: {problems[0]}{rest}. Download or save it again.",
        path=file,
        problems=problems[:MAX_PROBLEMS],
    )
