"""A checkpoint's folder, read within its bounds: regular files that really lie inside, each read once.

Symbolic links are followed where they lead to a regular file inside the folder itself, or, in a snapshot of
the Hub's cache, into that cache's blobs; any other link is refused. Links to folders are not entered.
Hidden folders (`.cache`, `.git`) are other tools' own and are not looked into.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Final

from registry.errors import CheckpointError

CHUNK_BYTES: Final = 1 << 20
MAX_ENTRIES: Final = 10_000
MAX_DEPTH: Final = 16

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SEGMENT = re.compile(r"[A-Za-z0-9._+@=,~#()\[\]{} -]{1,255}")
# Another process may put a link or a named pipe there after the look: follow no link, wait for no writer.
_OPEN_FLAGS = os.O_RDONLY
for _flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _OPEN_FLAGS |= getattr(os, _flag, 0)


def is_safe_name(name: str) -> bool:
    """Whether a recorded name stays in its folder on every system: plain ASCII parts joined by '/'.

    >>> is_safe_name("tokenizer/vocab.json"), is_safe_name("../vocab.json"), is_safe_name("C:/vocab.json")
    (True, False, False)
    """
    return len(name) <= 1024 and all(
        _SEGMENT.fullmatch(part) and part == part.strip(" ") and not part.endswith(".")
        for part in name.split("/")
    )


class HashedFile:
    """An open regular file whose sha256 grows with every byte handed out.

    `size_bytes` is its size when opened. A file that is cut or grows while it is
    read raises OSError: its bytes are of no one moment.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        self.name = name
        self.size_bytes = os.fstat(descriptor).st_size
        self._left = self.size_bytes
        self._digest = hashlib.sha256()
        self._buffer = memoryview(bytearray(min(CHUNK_BYTES, self.size_bytes)))
        self._stream = os.fdopen(descriptor, "rb", buffering=0)

    def __enter__(self) -> HashedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def take(self, count: int) -> memoryview:
        """The next bytes, at most `count` and CHUNK_BYTES, in a buffer that the next call reuses."""
        span = self._buffer[: min(count, self._left)]
        self._fill(span)
        return span

    def read(self, count: int) -> bytes:
        """The next `count` bytes, or what is left."""
        content = bytearray()
        while len(content) < count and self._left:
            content += self.take(count - len(content))
        return bytes(content)

    def read_all(self) -> bytes:
        """The whole file in one piece; only as the first call."""
        content = self._stream.read(self._left) if self._left else b""
        while content is not None and len(content) < self._left:  # the kernel hands out 2 GiB at most
            more = self._stream.read(self._left - len(content))
            if not more:
                break
            content += more
        if content is None or len(content) != self._left:
            raise _torn()
        self._left = 0
        self._digest.update(content)
        return content

    def read_buffer(self) -> memoryview:
        """The whole file in memory of its own, writable; only as the first call.

        Half as dear as `read_all`: the pages are large, and each chunk is hashed while the processor still holds it.
        """
        memory = _memory(self._left)
        while self._left:
            at = len(memory) - self._left
            self._fill(memory[at : at + CHUNK_BYTES])
        return memory

    def sha256(self) -> str:
        """Read on to the end; the digest of the whole file."""
        while self._left:
            self.take(CHUNK_BYTES)
        if self._stream.read(1):
            raise _torn()
        return self._digest.hexdigest()

    def _fill(self, span: memoryview) -> None:
        at = 0
        while at < len(span):
            got = self._stream.readinto(span[at:])
            if not got:
                raise _torn()
            at += got
        self._left -= len(span)
        self._digest.update(span)


class CheckpointFolder:
    """A folder with a checkpoint in it, and the only places its links may lead to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._real = Path(os.path.realpath(path))
        self._roots = (self._real, *_hub_blobs(self._real))

    def names(self) -> list[str]:
        """All files, links to folders and odd things included, as sorted '/'-separated relative names.

        Raises:
            OSError: the folder, or one inside it, cannot be listed.
            CheckpointError: more than MAX_ENTRIES of them, or folders nested past MAX_DEPTH.
        """
        found = []
        for name in self._walk(self._real, "", MAX_DEPTH):
            found.append(name)
            if len(found) > MAX_ENTRIES:
                raise self._refused(".", f"more than {MAX_ENTRIES} files")
        return sorted(found)

    def open(self, name: str) -> HashedFile:
        """Open one file for a single pass.

        Raises:
            FileNotFoundError: no such file, or a link to nothing.
            OSError: it cannot be read.
            CheckpointError: it is no regular file, or a link leads outside.
        """
        if name.startswith("/") or ".." in PurePosixPath(name).parts or "\0" in name:
            raise self._refused(name, "its name leaves the folder")
        real = Path(os.path.realpath(self._real / name, strict=True))
        if not any(real.is_relative_to(root) and real != root for root in self._roots):
            raise self._refused(name, "a link that leads outside its folder")
        self._require_regular(name, real.stat().st_mode)  # before opening: a device may act on that
        descriptor = os.open(real, _OPEN_FLAGS)
        try:
            self._require_regular(name, os.fstat(descriptor).st_mode)
            return HashedFile(descriptor, name)
        except BaseException:
            os.close(descriptor)
            raise

    def _require_regular(self, name: str, mode: int) -> None:
        if not stat.S_ISREG(mode):
            raise self._refused(name, f"expected a regular file, got {_kind(mode)}")

    def _walk(self, folder: Path, prefix: str, depth: int) -> Iterator[str]:
        if depth == 0:
            raise self._refused(shown_name(prefix), f"folders nested deeper than {MAX_DEPTH}")
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    yield prefix + entry.name
                elif not entry.name.startswith("."):
                    yield from self._walk(folder / entry.name, f"{prefix}{entry.name}/", depth - 1)

    def _refused(self, name: str, problem: str) -> CheckpointError:
        return CheckpointError(
            f"{shown_name(name)} in {self.path} is refused: {problem}.",
            path=str(self.path / name),
            problems=[problem],
        )


def shown_name(name: str) -> str:
    """A file's name for people and JSON: what is not printable is escaped."""
    return name if name.isprintable() else ascii(name)[1:-1]


def _hub_blobs(folder: Path) -> tuple[Path, ...]:
    """Where the links of a Hub snapshot lead: the repo's blobs, and the blobs that all repos share.

    `<cache>/models--org--name/snapshots/<40 hex digits>/...`
    """
    for snapshot in (folder, *folder.parents):
        repo = snapshot.parent.parent
        named = repo.name.startswith("models--") and snapshot.parent.name == "snapshots"
        if named and _COMMIT.fullmatch(snapshot.name):
            return repo / "blobs", repo.parent / "blobs"
    return ()


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _memory(size_bytes: int) -> memoryview:
    """Fresh memory. In pages of 4 kB, asking the system for each would take as long as hashing what it holds."""
    if not size_bytes or not hasattr(mmap, "MADV_HUGEPAGE"):
        return memoryview(bytearray(size_bytes))
    memory = mmap.mmap(
        -1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    )  # no file stands behind it
    with suppress(OSError):  # a kernel without large pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)


def _torn() -> OSError:
    return OSError("it changed while it was read")
