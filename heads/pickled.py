"""A head stored as a pickle, read without running anything it says.

Only what `torch.save` writes for a plain state dict is let through: an uncompressed zip archive of numbers
and one small pickle, read by torch's restricted unpickler, holding dense CPU tensors of the very names and
shapes that the config implies. This bounds what one file can do; a process of its own, with limits, is the
caller's to add where files come from strangers.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from registry.errors import CheckpointError
from registry.strictjson import shown

MAX_ENTRIES: Final = 4096
MAX_PICKLE_BYTES: Final = 1 << 20
_ENTRY = re.compile(
    r"[^/\x00]+/(data\.pkl|data/\d+|version|byteorder|\.data/serialization_id|\.format_version|\.storage_alignment)"
)


def read_pickled(
    data: bytes, shapes: Mapping[str, tuple[int, ...]], *, file: str
) -> tuple[dict[str, Tensor], bool]:
    """Read a pickled state dict.

    Args:
        data: The file's bytes.
        shapes: Name -> shape of every tensor it must hold.
        file: What messages call it.

    Returns:
        The tensors by name, and whether all blocks are one (their storages are the same).

    Raises:
        CheckpointError: anything else; `problems` lists all.
    """
    _check_archive(data, file)
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _refused(file, [f"torch does not read it: {_first_line(error)}"]) from error
    except (EOFError, IndexError, AssertionError, OverflowError, RecursionError, MemoryError) as error:
        raise _refused(file, [f"torch does not read it: {type(error).__name__}"]) from error
    if not isinstance(content, dict):
        raise _refused(file, [f"expected a dict of tensors, got {type(content).__name__}"])
    problems = [f"{shown(name)} is not expected" for name in content if name not in shapes]
    for name, shape in shapes.items():
        problem = _tensor_problem(content[name], shape) if name in content else "is missing"
        if problem:
            problems.append(f"{name} {problem}")
    if problems:
        raise _refused(file, problems)
    tensors = {name: content[name] for name in shapes}
    return tensors, _blocks_are_one(tensors, file)


def _check_archive(data: bytes, file: str) -> None:
    """Only an archive whose entries all have names that torch.save gives, none of them compressed."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError) as error:
        raise _refused(file, [f"it is no archive that torch.save writes: {_first_line(error)}"]) from error
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
    if problems:
        raise _refused(file, problems[:16])


def _tensor_problem(value: object, shape: tuple[int, ...]) -> str:
    """Why this is no plain dense CPU tensor of that shape; '' when it is."""
    if type(value) is not torch.Tensor:
        return f"is no plain tensor but {type(value).__name__}"
    if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
        return f"is no dense CPU tensor: {value.layout}, {value.device}"
    if tuple(value.shape) != shape:
        return f"expected shape {list(shape)}, got {list(value.shape)}"
    if not value.dtype.is_floating_point:
        return f"expected a floating dtype, got {value.dtype}"
    held = value.untyped_storage().nbytes()
    if not value.is_contiguous() or (value.storage_offset() + value.numel()) * value.element_size() > held:
        return "does not lie in one piece of memory"
    return ""


def _blocks_are_one(tensors: Mapping[str, Tensor], file: str) -> bool:
    """Whether every block's tensors are block 0's.

    Raises:
        CheckpointError: some are and some are not, or tensors of different names overlap.
    """
    places: dict[str, set[tuple[int, int]]] = {}
    for name, tensor in tensors.items():
        kind = re.sub(r"^model\.\d+\.(?=linear\.)", "block.", name)
        place = (tensor.untyped_storage().data_ptr(), int(tensor.storage_offset()))
        places.setdefault(kind, set()).add(place)
    weights = [name for name in tensors if name.endswith(".linear.weight")]
    distinct = {kind: len(found) for kind, found in places.items() if kind.startswith("block.")}
    if len(weights) <= 1 or set(distinct.values()) == {len(weights)}:
        return False
    if set(distinct.values()) == {1}:
        return True
    raise _refused(file, ["some of its blocks are one and some are not"])


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _refused(file: str, problems: list[str]) -> CheckpointError:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return CheckpointError(
        f"{file} is not the pickle of an acceptance head: {problems[0]}{more}. "
        "Ask for it as safetensors, or download it again.",
        path=file,
        problems=problems,
    )
