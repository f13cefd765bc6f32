"""The Trainer's own checkpoints, sealed: of one that was broken off while it was written nothing is believed.

A seal is written last and holds the sha256 of every file, and of the features that the weights were trained on.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any, Final

from transformers import TrainerCallback

from registry.files.wholefile import put_whole

SEAL: Final = "sealed.json"
_CHECKPOINT = re.compile(r"checkpoint-([0-9]+)")


class Sealing(TrainerCallback):
    """Seals every checkpoint that the Trainer has saved."""

    def __init__(self, features: str) -> None:
        """`features` is the digest of what is trained on."""
        self._features = features

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Read back what was written, and write the seal."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        seal = {"features": self._features, "files": _digests(folder)}
        put_whole((json.dumps(seal, indent=2) + "\n").encode(), folder / SEAL)


def sealed_checkpoint(work: Path, features: str) -> Path | None:
    """The last whole checkpoint that was trained on these features; all others are removed."""
    found = None
    for _, path in sorted(checkpoints_in(work).items(), reverse=True):
        if found is None and _is_sound(path, features):
            found = path
        elif found is None:
            shutil.rmtree(path)
    return found


def checkpoints_in(work: Path) -> dict[int, Path]:
    """The Trainer's checkpoints by the step that each was saved at, sealed or not."""
    return {
        int(match[1]): path
        for path in work.glob("checkpoint-*")
        if (match := _CHECKPOINT.fullmatch(path.name))
    }


def _is_sound(folder: Path, features: str) -> bool:
    try:
        seal = json.loads((folder / SEAL).read_text())
        return bool(seal == {"features": features, "files": _digests(folder)})
    except (OSError, ValueError):
        return False


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != SEAL and not path.name.startswith("."):
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
