"""The stored forms of a head, each made into one module, strictly.

Separate blocks and the shared block come as safetensors; an old head comes as `pytorch_model.bin`, which is not
unpickled here but converted first. Nothing is filled in at random: a tensor that the config implies is in the
file, or the metadata says which one it shares, or the head is refused. Files are read whole, never mapped: a
mapped file that shrinks kills the process.
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

from heads.convert import NO_MEMORY, most_bytes, too_large, weights_of_pickle
from heads.encoding import DTYPES, encoded
from heads.head import AcceptancePredictionHead, StoredForm
from heads.stored import judged, refused
from registry.errors import NotInstalledError
from registry.files.calibrationfile import MAX_CALIBRATION_BYTES, calibration_bytes, parse_calibration
from registry.files.filenames import CALIBRATION
from registry.files.layout import MAX_CONFIG_BYTES, HeadConfig, parse_head_config, stored_form
from registry.places import hub_cache
from registry.records import LockEntry
from registry.verify import read_verified

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
PICKLE: Final = "pytorch_model.bin"

_Head = TypeVar("_Head", bound=AcceptancePredictionHead)


def load_head(
    config: bytes,
    weights: bytes,
    *,
    calibration: bytes | None = None,
    file: str = WEIGHTS,
    pickled: bool = False,
) -> AcceptancePredictionHead:
    """Build the head that these bytes hold, so that the bytes a caller has hashed are the bytes loaded.

    Args:
        config: The content of config.json.
        weights: The content of model.safetensors. A pickle is refused, whatever it is called.
        calibration: The content of calibration.json, where there is one.
        file: Where the weights are from.
        pickled: Whether they were converted from a pickle, which `stored_form` then says.

    Returns:
        The head on the CPU in its stored dtype, in eval mode; `stored_form` says which form was found.

    Raises:
        CheckpointError: the bytes are not those of such a head; `problems` lists all.
    """
    sizes = parse_head_config(config, file=str(Path(file).with_name(CONFIG)))
    head = _built(AcceptancePredictionHead, sizes, weights, file=file, pickled=pickled)
    if calibration is not None:
        head.calibration = parse_calibration(calibration, file=str(Path(file).with_name(CALIBRATION)))
    return head


def load_folder(folder: str | Path, *, kind: type[_Head]) -> _Head:
    """Load the head of a folder; model.safetensors before pytorch_model.bin where both are there.

    A pickle is converted first, once, and a line on stderr says so. A folder of the Hub's cache that has a record
    is held against it; any other is read as it is.

    Raises:
        NotInstalledError: no such folder.
        CheckpointError: a file is missing, no regular file, too large, not that of an acceptance head, or not
            what its record says.
        CatalogError: a folder of the Hub's cache, and a catalog or lock that cannot be read.
    """
    path = Path(folder)
    if not path.is_dir():
        raise _not_here(str(folder))
    record = _record_of(path)
    config = _content(path, CONFIG, record, most=MAX_CONFIG_BYTES)
    sizes = parse_head_config(config, file=str(path / CONFIG))
    pickled = (path / PICKLE).exists() and not (path / WEIGHTS).exists()
    weights = path / (PICKLE if pickled else WEIGHTS)
    content = _content(path, weights.name, record, most=most_bytes(sizes))
    if pickled:
        content = weights_of_pickle(content, config, file=str(weights))
    head = _built(kind, sizes, content, file=str(weights), pickled=pickled)
    told = _calibration(path, record)
    if told is not None:
        head.calibration = parse_calibration(told, file=str(path / CALIBRATION))
    return head


def save_folder(head: AcceptancePredictionHead, folder: str | Path) -> None:
    """Write config.json and model.safetensors, and calibration.json for a head that has one.

    One head always gives the same bytes. Each file is written beside its place, flushed to the disk and moved there
    last; the calibration of a head that lay there before goes.

    Raises:
        CheckpointError: the head's tensors are of several dtypes or of none that is stored, or not finite.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    weights = packed(head, file=str(path / WEIGHTS))
    (path / CALIBRATION).unlink(missing_ok=True)
    _write(path / WEIGHTS, weights)
    _write(path / CONFIG, (json.dumps(head.config, indent=2) + "\n").encode())
    if head.calibration is not None:
        _write(path / CALIBRATION, calibration_bytes(head.calibration))


def packed(head: AcceptancePredictionHead, *, file: str = WEIGHTS) -> bytes:
    """The head as the bytes of a safetensors file.

    A shared block is stored once; the metadata maps each name that was dropped to the one kept.
    """
    tensors = {name: tensor.detach().cpu() for name, tensor in head.state_dict().items()}
    problems = _value_problems(tensors)
    if problems:
        raise refused(file, problems, next_step="Nothing was written.")
    return b"".join(encoded(tensors, shared=head.shared))


def _built(kind: type[_Head], sizes: HeadConfig, weights: bytes, *, file: str, pickled: bool) -> _Head:
    _, stored = judged(weights, sizes, file=file)
    tensors = library_load(weights)
    shared = stored_form(stored) == "shared block"
    form: StoredForm = "shared" if shared else "separate"
    with torch.device("meta"):  # nothing is drawn at random, not even for a moment
        head = kind({"hidden_size": sizes.hidden_size, "num_layers": sizes.num_layers}, shared=shared)
    head.load_state_dict({name: tensors[kept] for name, kept in stored.items()}, strict=True, assign=True)
    head.stored_form = "pickled" if pickled else form
    head.eval()
    return head


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


def _record_of(folder: Path) -> tuple[str, LockEntry] | None:
    """Name and record of the head whose folder this is in the Hub's cache, at the very commit on record."""
    real = Path(os.path.realpath(folder))
    if not real.is_relative_to(Path(os.path.realpath(hub_cache()))):
        return None
    from registry.shelf import Shelf  # noqa: PLC0415 - a folder of one's own needs no catalog

    shelf = Shelf.open()
    for head in shelf.catalog.heads:
        entry = shelf.lock.heads.get(head.name)
        if entry is None or entry.commit is None:
            continue
        place = shelf.head_place(head)
        same = place.folder is not None and Path(os.path.realpath(place.folder)) == real
        if same and place.kind == "hub" and place.commit == entry.commit:
            return head.name, entry
    return None


def _content(folder: Path, name: str, record: tuple[str, LockEntry] | None, *, most: int) -> bytes:
    """A file of the folder: the bytes that match the record, where there is one."""
    if record is None:
        return _read(folder / name, most=most)
    subject, entry = record
    return read_verified(folder, entry, (name,), subject=subject)[name]


def _calibration(folder: Path, record: tuple[str, LockEntry] | None) -> bytes | None:
    """The content of calibration.json; None where there is none, or none that the head's record knows."""
    known = os.path.lexists(folder / CALIBRATION) if record is None else CALIBRATION in record[1].files
    return _content(folder, CALIBRATION, record, most=MAX_CALIBRATION_BYTES) if known else None


def _read(path: Path, *, most: int) -> bytes:
    """A regular file's bytes, whole.

    It is opened without waiting, so that a named pipe put in its place cannot hold us.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as error:
        raise refused(str(path), ["the file is missing"]) from error
    except OSError as error:
        raise refused(str(path), [f"it cannot be read: {error.strerror}"]) from error
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise refused(str(path), ["it is no regular file"])
        if facts.st_size > most:
            raise refused(str(path), [too_large(facts.st_size, most)])
        try:  # room is made for what is asked for: not for `most`, and one more byte shows that it grew
            content = file.read(facts.st_size + 1)
        except MemoryError as error:
            raise refused(str(path), [NO_MEMORY]) from error
    if len(content) != facts.st_size:
        raise refused(str(path), ["it changed while it was read"])
    return content


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
