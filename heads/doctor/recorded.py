"""What lies in a member's own JSON files; nothing where a file is missing or no JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from registry.errors import CheckpointError
from registry.files.filenames import CONFIG, EVALUATION
from registry.files.jsonfile import read_object
from registry.records import Head
from registry.shelf import Shelf

MAX_BYTES: Final = 1 << 20


def recorded_ranking(shelf: Shelf, head: Head) -> float | None:
    """The AUC that a head's evaluation tells."""
    told = _content(shelf.head_place(head).folder, EVALUATION).get("auc")
    return float(told) if isinstance(told, float) and 0 <= told <= 1 else None


def stored_dtype(folder: Path | None) -> str | None:
    """The dtype that a model's config.json tells."""
    content = _content(folder, CONFIG)
    nested = content.get("text_config")
    every = {**content, **(nested if isinstance(nested, dict) else {})}
    told = every.get("dtype") or every.get("torch_dtype")
    return told if isinstance(told, str) else None


def _content(folder: Path | None, name: str) -> dict[str, Any]:
    if folder is None:
        return {}
    try:
        return read_object(folder / name, limit_bytes=MAX_BYTES, next_step="") or {}
    except CheckpointError:
        return {}
