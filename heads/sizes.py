"""How large a model and a head are, told by their config.json and the headers of their files: no weights are read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import AutoConfig, DynamicCache

from heads.encoding import DTYPES
from registry.errors import CheckpointError
from registry.files.filenames import CONFIG, INDEX, PICKLE, WEIGHTS
from registry.files.folder import CheckpointFolder
from registry.files.modelshape import OUTPUTS
from registry.files.tensorfile import TensorInfo
from registry.files.tensorscan import scan_header
from registry.records import Head, LockEntry, Model
from registry.verify import read_verified

if TYPE_CHECKING:
    from registry.shelf import Shelf

STORED: Final = {name: dtype for dtype, name in DTYPES.items()}


@dataclass(frozen=True, kw_only=True)
class ModelSizes:
    """A model's sizes, in numbers: what they take depends on the dtype it is loaded in.

    `weights` are the floating ones, a tied output layer counted once; `other_bytes` is what keeps its dtype.
    `cached` are the keys and values of one position, `worked` what a forward holds of one position at a time:
    hidden states four times over and the inner layer of an MLP three times. `matrices` are the numbers in each
    floating matrix. `bound` is None where there is none.
    """

    name: str
    weights: int
    other_bytes: int
    stored: torch.dtype
    cached: int
    worked: int
    vocab_size: int
    bound: int | None
    matrices: tuple[int, ...] = ()


def model_sizes(shelf: Shelf, model: Model) -> ModelSizes:
    """The sizes of a recorded model that is on this machine.

    Raises:
        NotInstalledError: it is not.
        CheckpointError: no record, or a config or header that cannot be read.
    """
    folder = shelf.model_place(model).installed(model.alias)
    entry = shelf.lock.models.get(model.alias)
    told: dict[str, Any] = json.loads(read_verified(folder, entry, (CONFIG,), subject=model.alias)[CONFIG])
    try:
        config = AutoConfig.for_model(**told)
        text = config.get_text_config(decoder=True)
        layers = len(DynamicCache(config=config).layers) or int(text.num_hidden_layers)
        heads = int(text.num_attention_heads)
        width = int(getattr(text, "head_dim", None) or text.hidden_size // heads)
        inner = int(getattr(text, "intermediate_size", None) or 4 * text.hidden_size)
        cached = 2 * layers * int(getattr(text, "num_key_value_heads", None) or heads) * width
        worked = 4 * max(int(text.hidden_size), heads * width) + 3 * inner
        vocab_size = int(text.vocab_size)
    except (ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise _untold(folder, model.alias, str(error)) from error
    tensors = list(_tensors(folder, entry, tied=bool(config.tie_word_embeddings)))
    floating = [info for info in tensors if info.floating]
    stored = getattr(config, "dtype", None) or (STORED.get(floating[0].dtype) if floating else None)
    bound = getattr(text, "max_position_embeddings", None)
    return ModelSizes(
        name=model.alias,
        weights=sum(math.prod(info.shape) for info in floating),
        other_bytes=sum(info.end - info.start for info in tensors if not info.floating),
        stored=stored if isinstance(stored, torch.dtype) else torch.float32,
        cached=cached,
        worked=worked,
        vocab_size=vocab_size,
        bound=bound if isinstance(bound, int) and bound > 0 else None,
        matrices=tuple(math.prod(info.shape) for info in floating if len(info.shape) == 2),
    )


def head_bytes(shelf: Shelf, head: Head) -> int:
    """What a head takes: it stays in its stored dtype, and a shared block is one. A pickle's file says about as much.

    Raises:
        NotInstalledError: it is not on this machine.
        CheckpointError: a header that cannot be read.
    """
    folder = shelf.head_place(head).installed(head.name)
    if not (folder / WEIGHTS).exists() and (folder / PICKLE).exists():
        return (folder / PICKLE).stat().st_size
    return sum(info.end - info.start for info in _header(folder, WEIGHTS).values())


def _tensors(folder: Path, entry: LockEntry | None, *, tied: bool) -> Iterator[TensorInfo]:
    """Of the recorded files that are loaded: the one whole file, or the shards that its index lists."""
    recorded = entry.files if entry is not None else {}
    names = [name for name in recorded if "/" not in name and name.endswith(".safetensors")]
    if WEIGHTS in names:
        names = [WEIGHTS]
    elif INDEX in recorded:
        index = json.loads(read_verified(folder, entry, (INDEX,))[INDEX])
        listed = set(index.get("weight_map", {}).values())
        names = [name for name in names if name in listed]
    for name in names:
        for tensor, info in _header(folder, name).items():
            if not (tied and tensor.endswith(OUTPUTS)):
                yield info


def _header(folder: Path, name: str) -> dict[str, TensorInfo]:
    try:
        with CheckpointFolder(folder).open(name) as file:
            return dict(scan_header(file).tensors)
    except OSError as error:
        raise _untold(folder, name, error.strerror or str(error)) from error


def _untold(folder: Path, subject: str, reason: str) -> CheckpointError:
    problem = f"its sizes cannot be told: {reason}"
    return CheckpointError(
        f"{subject} in {folder}: {problem}. Expected a config.json that transformers knows and sound safetensors.",
        path=str(folder),
        problems=[problem],
    )
