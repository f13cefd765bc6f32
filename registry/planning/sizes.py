"""How large models are: as the catalog says, else as the files on this machine show."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

from registry.errors import SpecregError
from registry.files.filenames import INDEX, WEIGHTS
from registry.files.folder import CheckpointFolder
from registry.files.strictjson import StrictJSONError, parse_json
from registry.files.tensorfile import PREFIX_BYTES, read_header
from registry.records import Model
from registry.shelf import Shelf

MAX_INDEX_BYTES: Final = 1 << 26


def sized_models(shelf: Shelf) -> dict[str, Model]:
    """The catalog's models; where it does not tell how many parameters one has, its weights here do."""
    return {name: _sized(shelf, model) for name, model in shelf.catalog.models.items()}


def stored_parameters(folder: Path) -> int | None:
    """Numbers in a model's safetensors files, by their headers; None where they do not tell.

    A matrix that two layers share is stored, and counted, once.
    """
    checkpoint = CheckpointFolder(folder)
    try:
        names = {WEIGHTS} if (folder / WEIGHTS).exists() else _shards(checkpoint)
        return sum(_numbers(checkpoint, name) for name in names) or None
    except (OSError, SpecregError, StrictJSONError):
        return None  # whoever loads it says what is wrong


def _sized(shelf: Shelf, model: Model) -> Model:
    folder = None if model.parameters is not None else shelf.model_place(model).folder
    count = None if folder is None else stored_parameters(folder)
    return model if count is None else model.model_copy(update={"parameters": count})


def _shards(checkpoint: CheckpointFolder) -> set[str]:
    """The files that an index lists."""
    with checkpoint.open(INDEX) as file:
        index = parse_json(file.read(MAX_INDEX_BYTES))
    listed = index.get("weight_map") if isinstance(index, dict) else None
    return {name for name in listed.values() if isinstance(name, str)} if isinstance(listed, dict) else set()


def _numbers(checkpoint: CheckpointFolder, name: str) -> int:
    with checkpoint.open(name) as file:
        header = read_header(file.read(PREFIX_BYTES), size_bytes=file.size_bytes, file=name)
    return sum(math.prod(tensor.shape) for tensor in header.tensors.values() if tensor.floating)
