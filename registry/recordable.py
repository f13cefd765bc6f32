"""Whether a checkpoint in a folder can be recorded: what lacks a part, or has a damaged one, can never be loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from registry.errors import CheckpointError
from registry.files.filenames import WEIGHTS
from registry.files.folder import CheckpointFolder
from registry.hub.remote import missing_parts
from registry.records import LockEntry

Kind = Literal["head", "model"]


def require_whole(kind: Kind, name: str, folder: Path, entry: LockEntry) -> None:
    """What lacks a part would be recorded as sound, and fail when it is verified. Raises CheckpointError."""
    problems = missing_parts(kind, entry.files)
    if problems:
        raise _refused(name, folder, f"it holds {', '.join(problems)}. Put there what is missing", problems)


def require_sound(kind: Kind, name: str, folder: Path, entry: LockEntry) -> None:
    """What is damaged would be recorded as it is, and fail when it is loaded. Raises CheckpointError."""
    problems = list(_damaged_weights(kind, folder, entry))
    if problems:
        raise _refused(name, folder, f"{'; '.join(problems)}. Put there what is sound", problems)


def _damaged_weights(kind: Kind, folder: Path, entry: LockEntry) -> Iterator[str]:
    """What is wrong with the headers of the safetensors files that a verification looks into."""
    from registry.files.tensorscan import scan_header  # noqa: PLC0415 - numpy, for what lies in folders only

    checkpoint = CheckpointFolder(folder)
    for file in entry.files:
        looked_into = file == WEIGHTS or (kind == "model" and "/" not in file)
        if not (looked_into and file.endswith(".safetensors")):
            continue
        try:
            with checkpoint.open(file) as opened:
                scan_header(opened)
        except CheckpointError as error:
            yield f"{file} is no sound safetensors file ({error.problems[0]})"
        except OSError as error:
            yield f"{file} cannot be read ({error.strerror or error})"


def _refused(name: str, folder: Path, what: str, problems: Sequence[str]) -> CheckpointError:
    return CheckpointError(
        f"{name} in {folder} cannot be recorded: {what}, and try again.", path=str(folder), problems=problems
    )
