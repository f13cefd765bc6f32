"""A head stored as a pickle, read without running anything it says. Only `heads.unpickler` calls this.

Only what `torch.save` writes today for a plain state dict is let through: an uncompressed zip archive of
numbers and one small pickle, read by torch's restricted unpickler, holding dense CPU tensors of the very names
and shapes that the config implies. The formats torch wrote before (a bare pickle, a tar) and TorchScript's
archives are refused by name. This bounds what one file can do; the process it happens in is bounded too.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from heads.encoding import DTYPES
from registry.errors import CheckpointError
from registry.files.strictjson import shown

MAX_ENTRIES: Final = 4096
MAX_PICKLE_BYTES: Final = 1 << 20
MAX_PROBLEMS: Final = 16
_ENTRY = re.compile(
    r"[^/\x00]+/(data\.pkl|data/\d+|version|byteorder|\.data/serialization_id|\.format_version|\.storage_alignment)"
)


def read_pickled(data: bytes, shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, Tensor], bool]:
    """Read a pickled state dict.

    Args:
        data: The file's bytes.
        shapes: Name -> shape of every tensor it must hold.

    Returns:
        The tensors by name, and whether all blocks are one (their storages are the same).

    Raises:
        CheckpointError: anything else; `problems` lists why.
    """
    _check_archive(data)
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _refused([f"torch does not read it: {_first_line(error)}"]) from error
    except (EOFError, IndexError, AssertionError, OverflowError, RecursionError) as error:
        raise _refused([f"torch does not read it: {type(error).__name__}"]) from error
    except MemoryError as error:
        raise _refused(["reading it takes more memory than a head of this size needs"]) from error
    if type(content) not in {dict, OrderedDict}:
        raise _refused([f"expected a dict of tensors, got {type(content).__name__}"])
    problems = [f"{_named(name)} is not expected" for name in content if name not in shapes]
    for name, shape in shapes.items():
        problem = _tensor_problem(content[name], shape) if name in content else "is missing"
        if problem:
            problems.append(f"{name} {problem}")
    tensors = {} if problems else {name: content[name].detach() for name in shapes}
    problems = problems or _dtype_problems(tensors)
    if problems:
        raise _refused(problems)
    return tensors, _blocks_are_one(tensors)


def _check_archive(data: bytes) -> None:
    """Only an archive whose entries all have names that torch.save gives, none of them compressed."""
    if not data.startswith(b"PK\x03\x04"):
        raise _refused([f"{_older(data)}, expected the archive that torch.save writes today"])
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError) as error:
        raise _refused([f"it is no archive that torch.save writes: {_first_line(error)}"]) from error
    if any(re.search(r"/(code/|constants\.pkl$)", entry.filename) for entry in entries):
        raise _refused(["it is a TorchScript archive, expected a state dict"])
    problems = [
        f"the archive's entry {shown(entry.filename)} is not one that torch.save writes"
        for entry in entries
        if not _ENTRY.fullmatch(entry.filename)
        or entry.compress_type != zipfile.ZIP_STORED
        or entry.file_size > len(data)
        or (entry.filename.endswith("data.pkl") and entry.file_size > MAX_PICKLE_BYTES)
    ]
    names = [entry.filename for entry in entries]
    if len(entries) > MAX_ENTRIES or len(set(names)) != len(names):
        problems.append(f"the archive has {len(names)} entries, some of them twice, or too many")
    elif len({name.split("/", 1)[0] for name in names}) > 1:
        problems.append("the archive has several roots")
    elif sum(entry.file_size for entry in entries) > len(data):
        problems.append("the archive's entries lie over each other")
    if problems:
        raise _refused(problems)


def _older(data: bytes) -> str:
    """What a file that is no archive is."""
    if data[257:262] == b"ustar":
        return "it is a tar, as torch wrote before 2016"
    if data.startswith(b"\x80"):
        return "it is a bare pickle, or what torch.save wrote before version 1.6"
    return "it is nothing that torch.save writes"


def _tensor_problem(value: object, shape: tuple[int, ...]) -> str:
    """Why this is no plain dense CPU tensor of that shape; '' when it is."""
    if type(value) is not torch.Tensor:
        return f"is no plain tensor but {type(value).__name__}"
    if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
        return f"is no dense CPU tensor: {value.layout}, {value.dtype}, {value.device}"
    if tuple(value.shape) != shape:
        return f"expected shape {list(shape)}, got {list(value.shape)}"
    if value.dtype not in DTYPES or value.is_neg():
        return f"expected a floating dtype, got {value.dtype}{', to be negated' if value.is_neg() else ''}"
    held = value.untyped_storage().nbytes()
    if not value.is_contiguous() or (value.storage_offset() + value.numel()) * value.element_size() > held:
        return "does not lie in one piece of memory"
    return ""


def _dtype_problems(tensors: Mapping[str, Tensor]) -> list[str]:
    first = next(iter(tensors.values())).dtype
    return [
        f"{name}: expected one dtype for all tensors, {first}, got {tensor.dtype}"
        for name, tensor in tensors.items()
        if tensor.dtype != first
    ]


def _blocks_are_one(tensors: Mapping[str, Tensor]) -> bool:
    """Whether every block's tensors are block 0's.

    Raises:
        CheckpointError: some are and some are not, or tensors overlap in any other way.
    """
    places: dict[str, set[tuple[int, int]]] = {}
    for name, tensor in tensors.items():
        kind = re.sub(r"^model\.\d+\.(?=linear\.)", "block.", name)
        places.setdefault(kind, set()).add((tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes))
    depth = sum(name.endswith(".linear.weight") for name in tensors)
    spans = sorted(span for found in places.values() for span in found)
    apart = all(before[1] <= after[0] for before, after in pairwise(spans))
    distinct = {len(found) for kind, found in places.items() if kind.startswith("block.")}
    if not apart or len(distinct) > 1 or (distinct and distinct - {1, depth}):
        raise _refused(["some of its blocks are one and some are not, or its tensors overlap"])
    return depth > 1 and distinct == {1}


def _named(name: object) -> str:
    return shown(name) if isinstance(name, str) else f"a key of type {type(name).__name__}"


def _first_line(error: BaseException) -> str:
    """What torch met, without what it advises: its advice is for those who trust the file."""
    lines = str(error).rpartition("WeightsUnpickler error:")[2].strip().splitlines()
    told = next((line for line in lines if "GLOBAL" in line), lines[0] if lines else type(error).__name__)
    return told.strip().partition(". Please use")[0].removesuffix(".")[:200]


def _refused(problems: list[str]) -> CheckpointError:
    return CheckpointError(
        f"This is not the pickle of an acceptance head: {problems[0]}.",
        path="",
        problems=problems[:MAX_PROBLEMS],
    )
