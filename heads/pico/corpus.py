"""The text that every machine has: the Python source in the standard library and installed packages."""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_FILE_BYTES = 150_000
MAX_LINE_CHARS = 400
HELD_OUT_ONE_IN = 12
SHINGLE_LINES = 6
TEST_FOLDERS = frozenset({"test", "tests", "idle_test"})
TABLE_FOLDERS = frozenset({"encodings", "pydoc_data", "site-packages", "__pycache__"})
PACKAGES_MB = {
    "torch": 10.0,
    "transformers": 8.0,
    "sqlalchemy": 4.0,
    "networkx": 4.0,
    "numpy": 4.0,
    "mypy": 4.0,
    "huggingface_hub": 3.0,
    "hypothesis": 2.0,
    "pydantic": 2.0,
    "_pytest": 2.0,
    "rich": 1.5,
    "accelerate": 1.5,
    "click": 1.0,
    "jinja2": 1.0,
}
TESTS_MB = 8.0


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Documents by what they serve. Every document is one Python file, decoded as UTF-8."""

    library: tuple[str, ...]
    """The standard library without its tests, less what is held out."""
    others: tuple[str, ...]
    """The library's tests and installed packages, less what repeats held-out text."""
    held_out: tuple[str, ...]
    """One in twelve files of the standard library, chosen by the hash of their path; never trained on."""

    def describe(self) -> dict[str, int]:
        """Bytes and documents of each part."""
        parts = {"library": self.library, "others": self.others, "held_out": self.held_out}
        facts: dict[str, int] = {}
        for name, documents in parts.items():
            facts[f"{name}_documents"] = len(documents)
            facts[f"{name}_bytes"] = sum(len(document.encode()) for document in documents)
        return facts


def read_corpus(library_root: Path | None = None, packages_root: Path | None = None) -> Corpus:
    """Collect the Python source of this machine: of its standard library and its installed packages.

    A training file is dropped when it repeats held-out text (more than one in twenty of its runs of six
    lines), so that copies of library modules inside packages do not flatter the held-out loss.
    """
    library_root = library_root or Path(sysconfig.get_paths()["stdlib"])
    packages_root = packages_root or Path(sysconfig.get_paths()["purelib"])
    library, held_out, tests = [], [], []
    for path in _python_files(library_root):
        relative = path.relative_to(library_root)
        if TABLE_FOLDERS & set(relative.parts):
            continue
        text = _readable(path)
        if text is None:
            continue
        if TEST_FOLDERS & set(relative.parts):
            tests.append((relative.as_posix(), text))
        elif _bucket(relative.as_posix(), HELD_OUT_ONE_IN) == 0:
            held_out.append(text)
        else:
            library.append(text)
    others = list(_capped(tests, TESTS_MB))
    for package, megabytes in PACKAGES_MB.items():
        found = (
            (path.relative_to(packages_root).as_posix(), text)
            for path in _python_files(packages_root / package)
            if (text := _readable(path)) is not None
        )
        others.extend(_capped(found, megabytes))
    known = {shingle for text in held_out for shingle in _shingles(text)}
    return Corpus(
        library=tuple(text for text in library if not _repeats(text, known)),
        others=tuple(text for text in others if not _repeats(text, known)),
        held_out=tuple(held_out),
    )


def _python_files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.py") if path.is_file())


def _readable(path: Path) -> str | None:
    """The text of a file a person would read; None for tables, generated and foreign-encoded files."""
    if not 200 <= path.stat().st_size <= MAX_FILE_BYTES:
        return None
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None
    if max(map(len, text.splitlines()), default=0) > MAX_LINE_CHARS:
        return None
    return text.replace("\r\n", "\n") if text.isascii() or len(text.encode()) < 1.02 * len(text) else None


def _bucket(name: str, buckets: int) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % buckets


def _capped(named: Iterable[tuple[str, str]], megabytes: float) -> Iterator[str]:
    """At most so many megabytes, files in the order of their names' hashes."""
    left = megabytes * 1e6
    for _, text in sorted(named, key=lambda pair: _bucket(pair[0], 1 << 62)):
        left -= len(text)
        if left < 0:
            return
        yield text


def _shingles(text: str) -> set[int]:
    lines = [stripped for line in text.splitlines() if (stripped := line.strip())]
    return {hash(tuple(lines[i : i + SHINGLE_LINES])) for i in range(len(lines) - SHINGLE_LINES + 1)}


def _repeats(text: str, known: set[int]) -> bool:
    shingles = _shingles(text)
    return len(shingles & known) * 20 > len(shingles)
