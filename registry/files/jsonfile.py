"""One JSON object in one file, read within bounds."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Protocol

from registry.errors import CheckpointError
from registry.files.strictjson import StrictJSONError, parse_json, shown

FOREIGN_DIGITS = 309
"""Tokenizers store 'no limit' as 1e30 written out; a float has no more digits than these."""


class Reader(Protocol):
    """Hands out all of a file, as `read_whole` does; another may hold the bytes against a record first."""

    def __call__(self, path: Path, *, limit_bytes: int, next_step: str) -> bytes | None:
        """All of a plain file; None where there is none. Raises CheckpointError."""


def read_object(
    path: Path, *, limit_bytes: int, next_step: str, read: Reader | None = None
) -> dict[str, object] | None:
    """Read a file that holds one JSON object; None where there is no such file.

    Raises:
        CheckpointError: It is no plain file, larger than `limit_bytes`, not strict JSON, or not an object.
    """
    content = (read or read_whole)(path, limit_bytes=limit_bytes, next_step=next_step)
    return None if content is None else parse_object(content, path, next_step=next_step)


def parse_object(content: bytes, path: Path, *, next_step: str) -> dict[str, object]:
    """The one JSON object that the file at `path` holds. Raises CheckpointError."""
    try:
        document = parse_json(content, max_digits=FOREIGN_DIGITS)
    except StrictJSONError as error:
        raise unusable(path, "expected JSON", str(error), next_step=next_step) from error
    if not isinstance(document, dict):
        raise unusable(path, "expected one JSON object", shown(document), next_step=next_step)
    return document


def read_whole(path: Path, *, limit_bytes: int, next_step: str) -> bytes | None:
    """All of a plain file; None where there is none. Raises CheckpointError past `limit_bytes`."""
    content = read_start(path, limit_bytes + 1, next_step=next_step)
    if content is not None and len(content) > limit_bytes:
        raise unusable(path, f"expected at most {limit_bytes} bytes", "more", next_step=next_step)
    return content


def read_start(path: Path, size_bytes: int, *, next_step: str) -> bytes | None:
    """The first `size_bytes` of a plain file, or all of a shorter one; None where there is none."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise unusable(path, "expected a readable file", str(error), next_step=next_step) from error
    # Opening a named pipe would wait for ever.
    if not stat.S_ISREG(status.st_mode):
        raise unusable(path, "expected a plain file", stat.filemode(status.st_mode), next_step=next_step)
    try:
        with path.open("rb") as stream:
            return stream.read(size_bytes)
    except OSError as error:
        raise unusable(path, "expected a readable file", str(error), next_step=next_step) from error


def unusable(path: Path, expected: str, got: str, *, next_step: str) -> CheckpointError:
    """The error that says what a file should have held and what it holds."""
    problem = f"{expected}, got {got}"
    return CheckpointError(
        f"{path} cannot be used: {problem}. {next_step}", path=str(path), problems=[problem]
    )
