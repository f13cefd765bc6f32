"""A trained head, stored as published: its folder appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from heads.head import AcceptancePredictionHead
from heads.training.room import room_told
from registry.errors import UsageError
from registry.files.filenames import TRAINER_STATE
from registry.files.wholefile import put_whole, sync_folder

MANIFEST: Final = "head.json"


def store_head(
    head: AcceptancePredictionHead,
    folder: Path,
    *,
    trainer_state: bytes,
    more: Mapping[str, bytes] | None = None,
    work: Path | None = None,
) -> None:
    """Write config.json, model.safetensors, trainer_state.json and `more` beside the folder, then give it its name.

    Args:
        head: With its calibration, if it has one.
        folder: Where the head is to be. One that is there gives way.
        trainer_state: What the Trainer left.
        more: Further files by name.
        work: A folder on the same disk, where it is put together and its digests are noted before it gets its name, so
            that a later run knows it again; beside `folder` when None.

    Raises:
        UsageError: the disk is full; a head that was there still is.
    """
    staged = folder.with_name(f".{folder.name}.new") if work is None else work / "head"
    others = {TRAINER_STATE: trainer_state, **(more or {})}
    weights = sum(part.numel() * part.element_size() for part in head.parameters())
    with room_told(staged, "The head", needed_bytes=weights + sum(map(len, others.values()))):
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staged, ignore_errors=True)
        head.save_pretrained(staged)
        for name, content in others.items():
            put_whole(content, staged / name)
        if work is not None:
            put_whole((json.dumps(_digests(staged), indent=2) + "\n").encode(), work / MANIFEST)
    if folder.exists():
        shutil.rmtree(folder)
    staged.rename(folder)
    sync_folder(folder.parent)


def is_stored(folder: Path, work: Path) -> bool:
    """Whether the folder holds the very head that was put together in this work folder.

    Raises:
        UsageError: it holds something else, which is not overwritten.
    """
    if not folder.exists():
        return False
    try:
        made = json.loads((work / MANIFEST).read_text())
    except (OSError, ValueError):
        made = None
    if made is None or _digests(folder) != made:
        raise UsageError(
            f"{folder} is there already, and is not what this training stored. Give another --run, or delete that "
            "folder."
        )
    return True


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file()
    }
