"""The stored forms of a head, each made into one module, strictly.

Separate blocks and the shared block come as safetensors; an old head comes as `pytorch_model.bin`. Nothing
is filled in at random: a tensor that the config implies is in the file, or the metadata says which one it
shares, or the head is refused. Files are read whole, never mapped: a mapped file that shrinks kills the
process.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import Final, TypeVar

import torch
from safetensors.torch import load as library_load
from torch import Tensor

from heads.head import AcceptancePredictionHead, StoredForm
from heads.pickled import read_pickled
from registry.errors import CheckpointError, NotInstalledError
from registry.layout import (
    MAX_CONFIG_BYTES,
    HeadConfig,
    expected_shapes,
    parse_head_config,
    stored_form,
    stored_names,
)
from registry.tensorfile import PREFIX_BYTES, TensorFile, read_header

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
PICKLE: Final = "pytorch_model.bin"
DTYPES: Final = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
MAX_ITEM_BYTES: Final = 8

_Head = TypeVar("_Head", bound=AcceptancePredictionHead)


def load_head(config: bytes, weights: bytes, *, file: str = WEIGHTS) -> AcceptancePredictionHead:
    """Build the head that these bytes hold, so that the bytes a caller has hashed are the bytes loaded.

    Args:
        config: The content of config.json.
        weights: The content of model.safetensors, or of pytorch_model.bin.
        file: Where the weights are from; only a file named pytorch_model.bin is read as a pickle.

    Returns:
        The head on the CPU in its stored dtype, in eval mode; `stored_form` says which form was found.

    Raises:
        CheckpointError: the bytes are not those of such a head; `problems` lists all.
    """
    return _built(AcceptancePredictionHead, config, weights, file=file)


def load_folder(folder: str | Path, *, kind: type[_Head]) -> _Head:
    """Load the head of a folder; model.safetensors before pytorch_model.bin where both are there.

    Raises:
        NotInstalledError: no such folder.
        CheckpointError: a file is missing, no regular file, too large, or not that of an acceptance head.
    """
    path = Path(folder)
    if not path.is_dir():
        raise _not_here(str(folder))
    config = _read(path / CONFIG, most=MAX_CONFIG_BYTES)
    sizes = parse_head_config(config, file=str(path / CONFIG))
    elements = sum(torch.Size(shape).numel() for shape in expected_shapes(sizes).values())
    weights = path / (PICKLE if (path / PICKLE).exists() and not (path / WEIGHTS).exists() else WEIGHTS)
    content = _read(weights, most=PREFIX_BYTES + MAX_ITEM_BYTES * elements)
    return _built(kind, config, content, file=str(weights))


def save_folder(head: AcceptancePredictionHead, folder: str | Path) -> None:
    """Write config.json and model.safetensors; one head always gives the same bytes.

    Each file is written beside its place, flushed to the disk and moved there last.

    Raises:
        CheckpointError: the head's tensors are of several dtypes or of none that is stored, or not finite.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    weights = packed(head, file=str(path / WEIGHTS))
    _write(path / WEIGHTS, weights)
    _write(path / CONFIG, (json.dumps(head.config, indent=2) + "\n").encode())


def packed(head: AcceptancePredictionHead, *, file: str = WEIGHTS) -> bytes:
    """The head as the bytes of a safetensors file.

    A shared block is stored once; the metadata maps each name that was dropped to the one kept.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    kept = {name: _first_block(name) if head.shared else name for name in tensors}
    problems = _value_problems(tensors)
    if problems:
        raise _refused(file, problems, next_step="Nothing was written.")
    metadata = {"format": "pt"} | {name: first for name, first in kept.items() if name != first}
    header: dict[str, object] = {"__metadata__": metadata}
    parts: list[bytes] = []
    at = 0
    for name in sorted(set(kept.values())):
        tensor = tensors[name]
        # a view of the bits, because numpy has no bfloat16
        parts.append(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        end = at + len(parts[-1])
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the data begins on eight bytes
    return b"".join((len(text).to_bytes(8, "little"), text, *parts))


def _built(kind: type[_Head], config: bytes, weights: bytes, *, file: str) -> _Head:
    sizes = parse_head_config(config, file=str(Path(file).with_name(CONFIG)))
    if Path(file).name == PICKLE:
        tensors, shared = read_pickled(weights, expected_shapes(sizes), file=file)
        form: StoredForm = "pickled"
    else:
        tensors, shared = _from_safetensors(weights, sizes, file)
        form = "shared" if shared else "separate"
    problems = _value_problems(tensors)
    if problems:
        raise _refused(file, problems)
    with torch.device("meta"):  # nothing is drawn at random, not even for a moment
        head = kind({"hidden_size": sizes.hidden_size, "num_layers": sizes.num_layers}, shared=shared)
    head.load_state_dict(tensors, strict=True, assign=True)
    head.stored_form = form
    head.eval()
    return head


def _from_safetensors(weights: bytes, config: HeadConfig, file: str) -> tuple[dict[str, Tensor], bool]:
    """Tensors of the whole module by name, and whether its blocks are one."""
    header = read_header(weights, file=file)
    dtypes = _dtype_problems(header)
    try:
        stored = stored_names(header, config)
    except CheckpointError as error:
        raise _refused(file, [*error.problems, *dtypes]) from error
    if dtypes:
        raise _refused(file, dtypes)
    tensors = library_load(weights)
    return {name: tensors[kept] for name, kept in stored.items()}, stored_form(stored) == "shared block"


def _dtype_problems(header: TensorFile) -> list[str]:
    found = {name: info.dtype for name, info in header.tensors.items()}
    if len(set(found.values())) <= 1 and set(found.values()) <= set(DTYPES.values()):
        return []
    usual = max(sorted(set(found.values())), key=list(found.values()).count)
    expected = usual if usual in DTYPES.values() else "one of " + ", ".join(DTYPES.values())
    return [
        f"{name}: expected dtype {expected}, got {dtype}"
        for name, dtype in sorted(found.items())
        if dtype != usual or usual not in DTYPES.values()
    ]


def _value_problems(tensors: dict[str, Tensor]) -> list[str]:
    """Tensors that are of another dtype than the first, or of none we store, or not finite."""
    first = next(iter(tensors.values())).dtype
    problems = []
    for name, tensor in tensors.items():
        if tensor.dtype != first or tensor.dtype not in DTYPES:
            problems.append(f"{name}: expected one floating dtype for all tensors, got {tensor.dtype}")
        elif not bool(torch.isfinite(tensor).all()):
            problems.append(f"{name} holds values that are not finite")
    return problems


def _first_block(name: str) -> str:
    return re.sub(r"^model\.\d+\.linear\.", "model.0.linear.", name)


def _read(path: Path, *, most: int) -> bytes:
    """A regular file's bytes, whole.

    It is opened without waiting, so that a named pipe put in its place cannot hold us.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as error:
        raise _refused(str(path), ["the file is missing"]) from error
    except OSError as error:
        raise _refused(str(path), [f"it cannot be read: {error.strerror}"]) from error
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise _refused(str(path), ["it is no regular file"])
        if facts.st_size > most:
            raise _refused(str(path), [f"{facts.st_size} bytes, more than the {most} such a head can take"])
        return file.read(most)


def _write(path: Path, content: bytes) -> None:
    descriptor, staged = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for this user alone; a stored head is as readable as any other file
        Path(staged).chmod(0o644)
        Path(staged).replace(path)
    except BaseException:
        Path(staged).unlink(missing_ok=True)
        raise


def _not_here(name: str) -> NotInstalledError:
    edge = re.search(r"([^/\\\s]+--to--[^/\\\s]+(?:[/\\][^/\\\s]+)?)", name)
    wanted = edge.group(1).replace("\\", "/") if edge else "<source>--to--<target>"
    return NotInstalledError(
        subject=f"The head {name!r}",
        where="folders of this machine",
        next_step=f"Give a folder; `specreg download {wanted}` fetches a head and says where it is.",
    )


def _refused(
    file: str, problems: list[str], *, next_step: str = "Download or save it again."
) -> CheckpointError:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return CheckpointError(
        f"{file} is not that of an acceptance head: {problems[0]}{more}. {next_step}",
        path=file,
        problems=problems,
    )
