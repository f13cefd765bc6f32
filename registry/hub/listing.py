"""A file as the Hub lists it, before a byte of it has come."""

from __future__ import annotations

import re
from dataclasses import dataclass

from huggingface_hub.hf_api import RepoFile

_GIT_SHA1 = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file as the Hub lists it: its name in the folder asked for, and at least one digest of its bytes.

    `git_sha1` is that of git's blob: a header with the size, then the bytes. LFS files have a sha256 instead.
    """

    name: str
    size_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None


def remote_file(row: RepoFile, name: str) -> RemoteFile:
    """The file of one row of a listing, under this name.

    Raises:
        ValueError: The row tells no size or no digest.
    """
    sha256 = None if row.lfs is None else row.lfs.sha256
    size = row.size if row.lfs is None else row.lfs.size
    digest = row.blob_id if sha256 is None else sha256
    if (
        not isinstance(size, int)
        or size < 0
        or not (_GIT_SHA1 if sha256 is None else _SHA256).fullmatch(digest)
    ):
        raise ValueError("a size and a digest were due")
    return RemoteFile(
        name=name, size_bytes=size, sha256=sha256, git_sha1=row.blob_id if sha256 is None else None
    )
