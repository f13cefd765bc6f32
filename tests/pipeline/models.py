"""Base models of a user's own: the least of the embedded family, in a folder, a package or a hub's repository."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from registry.recording import record_catalog, write_recording

LITTLE = Path(__file__).parent.parent.parent / "heads" / "pico" / "pico-little"
SIZES = "hidden_size: 192, vocab_size: 2048"
WEIGHTS = "model.safetensors"


def write_model(folder: Path) -> Path:
    """The model as it is shipped."""
    shutil.copytree(LITTLE, folder)
    return folder


def own_catalog(folder: Path, where: str) -> Path:
    """A catalog with one model, `mine`, that lies where told."""
    file = folder / "own.yaml"
    file.write_text(f"version: 1\nmodels:\n  mine: {{{where}, {SIZES}}}\n")
    return file


def lock(catalog: Path) -> Path:
    """Record what the catalog names as it is now; the lock."""
    recording = record_catalog(catalog)
    write_recording(recording)
    return recording.lock_path


def folder_model(tmp_path: Path) -> tuple[Path, Path]:
    """A model in a folder beside its catalog, not recorded yet; both."""
    return write_model(tmp_path / "models" / "mine"), own_catalog(tmp_path, "path: ./models/mine")


def set_config(folder: Path, **changes: object) -> None:
    """Change what the model's config.json says."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
