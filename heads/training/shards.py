"""What a step leaves on disk: safetensors files in a folder, each with its size and sha256 in an index.

A shard is written whole and synced before the index names it, so that a step that was killed goes on behind the last
shard that is whole. Reading one hashes it: the tensors that come back are made of the bytes that were compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load, save

from heads.training.room import room_told
from registry.errors import CheckpointError
from registry.files.tensorfile import PREFIX_BYTES, TensorFile, read_header
from registry.files.wholefile import put_whole

INDEX: Final = "index.json"


class Shards:
    """The shards of one folder. `files` maps a name to its size, sha256 and number of rows."""

    def __init__(self, folder: Path) -> None:
        """Read the index; a folder without one has no shards yet.

        Raises:
            CheckpointError: the index cannot be read.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self.files: dict[str, dict[str, Any]] = json.loads((folder / INDEX).read_text())
        except FileNotFoundError:
            self.files = {}
        except (OSError, ValueError) as error:
            path = folder / INDEX
            raise CheckpointError(
                f"{path} is damaged: expected the index of the shards beside it, got {error}. Nothing was trained on "
                f"them. Delete {folder} and run the command again: that step is made anew.",
                path=str(path),
                problems=[str(error)],
            ) from error

    def has(self, name: str) -> bool:
        """Whether the index names it and a file of its size is there; its bytes are looked at when it is read."""
        record, path = self.files.get(name), self.folder / name
        return record is not None and path.is_file() and path.stat().st_size == record["size_bytes"]

    def put(self, name: str, tensors: Mapping[str, torch.Tensor], *, rows: int) -> None:
        """Write a shard, then name it in the index.

        Raises:
            UsageError: the disk is full; the shards before are whole.
        """
        content = save({key: value.contiguous().cpu() for key, value in tensors.items()})
        record = {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "rows": rows}
        named = {**self.files, name: record}
        index = (json.dumps(named, indent=2) + "\n").encode()
        with room_told(self.folder, name, needed_bytes=len(content) + len(index)):
            put_whole(content, self.folder / name)
            put_whole(index, self.folder / INDEX)
        self.files = named

    def read(self, name: str) -> dict[str, torch.Tensor]:
        """The tensors of a shard.

        Raises:
            CheckpointError: it is missing, or its bytes are not those that were written.
        """
        tensors: dict[str, torch.Tensor] = load(self._bytes(name))
        return tensors

    def header(self, name: str) -> TensorFile:
        """Where the tensors of a shard lie in it; call `read` first, which compares its bytes."""
        path = self.folder / name
        with path.open("rb") as file:
            start = file.read(PREFIX_BYTES)
        return read_header(start, size_bytes=self.files[name]["size_bytes"], file=str(path))

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(int(record["rows"]) for record in self.files.values())

    @property
    def size_bytes(self) -> int:
        """Bytes of all shards."""
        return sum(int(record["size_bytes"]) for record in self.files.values())

    def digest(self) -> str:
        """One sha256 that stands for all shards."""
        told = {name: self.files[name]["sha256"] for name in sorted(self.files)}
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def _bytes(self, name: str) -> bytes:
        path, record = self.folder / name, self.files.get(name)
        if record is None:
            raise _unusable(path, "expected a shard that the index names, got none of that name")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise _unusable(path, f"expected a file, got {error.strerror}") from error
        found = hashlib.sha256(content).hexdigest()
        if found != record["sha256"]:
            raise _unusable(path, f"expected sha256 {record['sha256']}, got {found}")
        return content


def _unusable(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is damaged: {problem}. Nothing was trained on it. Delete that file and run the command again: it "
        "alone is made anew.",
        path=str(path),
        problems=[problem],
    )
