"""Tensors as the bytes of a safetensors file; the same tensors always give the same bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

DTYPES: Final = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


def encoded(tensors: Mapping[str, Tensor], *, shared: bool) -> list[memoryview]:
    """The file in parts, header first; written one after another they are the file.

    Args:
        tensors: Floating tensors of a head, on the CPU.
        shared: Whether its blocks are one: then it is stored once, and the header's metadata maps each name
            that was dropped to the one kept.
    """
    kept = {name: _first_block(name) if shared else name for name in tensors}
    metadata = {"format": "pt"} | {name: first for name, first in kept.items() if name != first}
    header: dict[str, object] = {"__metadata__": metadata}
    parts: list[memoryview] = []
    at = 0
    for name in sorted(set(kept.values())):
        tensor = tensors[name]
        parts.append(raw_bytes(tensor))
        end = at + parts[-1].nbytes
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the data begins on eight bytes
    return [memoryview(len(text).to_bytes(8, "little")), memoryview(text), *parts]


def raw_bytes(tensor: Tensor) -> memoryview:
    """A tensor's numbers as they lie in memory, row after row; copied only where they do not."""
    # a view of the bits, because numpy has no bfloat16
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _first_block(name: str) -> str:
    return re.sub(r"^model\.\d+\.linear\.", "model.0.linear.", name)
