"""`catalog.lock`: the commit each checkpoint was read at, and size and sha256 of every file of it.

The file is JSON, sorted, one line per file, so that a change of one digest is a change of one line.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError, field_validator

from registry.errors import CatalogError, CatalogFault, CheckpointError, UsageError
from registry.files.folder import CheckpointFolder, is_safe_name, shown_name
from registry.files.strictjson import StrictJSONError, parse_json, shown
from registry.files.wholefile import put_whole
from registry.records import FileRecord, LockEntry, Record

MAX_LOCK_BYTES: Final = 1 << 28
HASHING_THREADS: Final = 2

_HEX: Final = frozenset("0123456789abcdef")


class Lock(Record):
    """Records of heads by name (`a--to--b/run`) and of models by alias."""

    version: Literal[1] = 1
    heads: dict[str, LockEntry] = Field(default_factory=dict)
    models: dict[str, LockEntry] = Field(default_factory=dict)

    @field_validator("heads", "models")
    @classmethod
    def _names_stay_inside(cls, entries: dict[str, LockEntry]) -> dict[str, LockEntry]:
        for name, entry in entries.items():
            for file in (name, *entry.files):
                if not is_safe_name(file):
                    raise ValueError(f"{shown(file)} does not stay in its folder")
        return entries

    def with_head(self, name: str, entry: LockEntry) -> Lock:
        """This lock with one head's record put in or replaced."""
        return Lock(heads={**self.heads, name: entry}, models=self.models)

    def with_model(self, alias: str, entry: LockEntry) -> Lock:
        """This lock with one model's record put in or replaced."""
        return Lock(heads=self.heads, models={**self.models, alias: entry})


def read_lock(paths: Iterable[Path] | Path) -> Lock:
    """Read lock files, later ones laid over earlier ones entry by entry. A file that is not there is empty.

    Raises:
        CatalogError: files that cannot be read or are not as they should be; every fault of every file.
    """
    heads: dict[str, LockEntry] = {}
    models: dict[str, LockEntry] = {}
    faults: list[CatalogFault] = []
    for path in [paths] if isinstance(paths, Path) else paths:
        try:
            lock = _read_one(path)
        except CatalogError as error:
            faults.extend(error.faults)
            continue
        heads |= lock.heads
        models |= lock.models
    if faults:
        raise CatalogError(faults)
    return Lock.model_construct(version=1, heads=heads, models=models)


def read_downloaded(path: Path) -> Lock:
    """Read the record of what was downloaded, which specreg itself wrote and no catalog has a part in.

    Raises:
        UsageError: it cannot be read or is not as it should be; the sentence says how to do without it.
    """
    try:
        return _read_one(path)
    except CatalogError as error:
        first = error.faults[0]
        problem = f"{first.path}: {first.problem}" if first.path else first.problem
        line = "" if first.line is None else f" at line {first.line}"
        more = f" (and {len(error.faults) - 1} more)" if len(error.faults) > 1 else ""
        step = (
            "Mend that, and try again."
            if isinstance(error, _KeptFromUsError)
            else "Move it away and download again: `specreg store rebuild` sets it aside and deletes nothing, and then "
            "what is here is hashed anew, and only what is not right is fetched."
        )
        raise UsageError(
            f"{path}, the record of what was downloaded, cannot be used{line}: {problem}{more}. {step}"
        ) from error


def is_damaged(path: Path) -> bool:
    """Whether nobody can use this lock file any more. One that we may not read, or a later specreg's, may be sound."""
    try:
        _read_one(path)
    except _KeptFromUsError:
        return False
    except CatalogError:
        return True
    return False


def write_lock(lock: Lock, path: Path) -> None:
    """Put the lock in place whole or not at all.

    Raises:
        OSError: the folder cannot be written to.
    """
    put_whole(lock_text(lock).encode("ascii"), path)


def lock_text(lock: Lock) -> str:
    """The file's text: the same lock gives the same bytes."""
    blocks = [f'  "{kind}": {_entries_text(getattr(lock, kind))}' for kind in ("heads", "models")]
    return "{\n" + ",\n".join([f'  "version": {lock.version}', *blocks]) + "\n}\n"


def lock_folder(folder: Path, *, commit: str | None = None) -> LockEntry:
    """Record a folder as it is: every file but those in hidden folders.

    Raises:
        CheckpointError: files that cannot be recorded (links leading outside, no regular files, unreadable,
            names that are unsafe elsewhere), all of them; or a folder that is not there or holds no file.
    """
    checkpoint = CheckpointFolder(folder)
    problems: list[str] = []

    def record(name: str) -> FileRecord | None:
        if not is_safe_name(name):
            problems.append(f"{shown_name(name)}: a name that is not safe on every system")
            return None
        try:
            with checkpoint.open(name) as file:
                return FileRecord(size_bytes=file.size_bytes, sha256=file.sha256())
        except CheckpointError as error:
            problems.append(f"{shown_name(name)}: {'; '.join(error.problems)}")
        except OSError as error:
            problems.append(f"{shown_name(name)}: {error.strerror or error}")
        return None

    try:
        names = checkpoint.names()
    except OSError as error:
        raise _unrecordable(folder, [error.strerror or str(error)]) from error
    with ThreadPoolExecutor(HASHING_THREADS) as pool:
        records = dict(zip(names, pool.map(record, names), strict=True))
    files = {name: found for name, found in records.items() if found is not None}
    if problems or not files:
        raise _unrecordable(folder, sorted(problems) or ["it holds no file"])
    return LockEntry(commit=commit, files=files)


class _KeptFromUsError(CatalogError):
    """A lock file that may be sound: the system does not let us read it, or a later specreg wrote it."""


def _read_one(path: Path) -> Lock:
    try:
        content = parse_json(_bounded(path), floats=False)
    except FileNotFoundError:
        return Lock.model_construct()
    except StrictJSONError as error:
        raise _fault(path, str(error), line=error.line) from error
    except OSError as error:
        fault = _fault(path, f"it cannot be read: {error.strerror or error}")
        raise (fault if error.errno is None else _KeptFromUsError(fault.faults)) from error
    if not isinstance(content, dict):
        raise _fault(path, "expected an object")
    version = content.get("version")
    if type(version) is not int:  # a Literal takes true for 1
        raise _fault(path, "version: expected 1")
    if version > 1:
        later = f"version: Input should be 1, got {version}, as a later specreg writes it"
        raise _KeptFromUsError(_fault(path, later).faults)
    sound = _sound(content)
    if sound is not None:
        return sound
    try:
        return Lock.model_validate(content)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise CatalogError([_validation_fault(path, detail) for detail in details]) from error


def _sound(content: dict[str, Any]) -> Lock | None:
    """The lock, where every part is as it must be; None leaves it to the schema to say what is not.

    The schema alone would do; building it costs more than all else that `specreg chain` does.
    """
    if not content.keys() <= {"version", "heads", "models"} or content["version"] != 1:
        return None
    parts: dict[str, dict[str, LockEntry]] = {}
    for part in ("heads", "models"):
        entries = content.get(part, {})
        if not isinstance(entries, dict):
            return None
        parts[part] = {}
        for name, value in entries.items():
            entry = _sound_entry(value)
            if entry is None or not is_safe_name(name):
                return None
            parts[part][name] = entry
    return Lock.model_construct(version=1, heads=parts["heads"], models=parts["models"])


def _sound_entry(value: object) -> LockEntry | None:
    if not isinstance(value, dict) or not {"files"} <= value.keys() <= {"files", "commit"}:
        return None
    commit, files = value.get("commit"), value["files"]
    if not (commit is None or _is_hex(commit, 40)) or not isinstance(files, dict):
        return None
    for name, record in files.items():
        if (
            not isinstance(record, dict)
            or record.keys() != {"size_bytes", "sha256"}
            or not is_safe_name(name)
        ):
            return None
        size = record["size_bytes"]
        if type(size) is not int or size < 0 or not _is_hex(record["sha256"], 64):
            return None
    records = {name: FileRecord.model_construct(**record) for name, record in files.items()}
    return LockEntry.model_construct(commit=commit, files=records)


def _is_hex(value: object, digits: int) -> bool:
    return isinstance(value, str) and len(value) == digits and not set(value) - _HEX


def _bounded(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("expected a regular file")
    with path.open("rb") as stream:
        content = stream.read(MAX_LOCK_BYTES + 1)
    if len(content) > MAX_LOCK_BYTES:
        raise OSError(f"longer than {MAX_LOCK_BYTES} bytes")
    return content


def _validation_fault(path: Path, detail: Any) -> CatalogFault:
    place = ""
    for part in detail["loc"]:
        plain = isinstance(part, str) and part.isidentifier()
        place += (f".{part}" if place else part) if plain else f"[{shown(part)}]"
    problem = str(detail["msg"]).removeprefix("Value error, ")
    return CatalogFault(file=str(path), line=None, path=place, problem=problem)


def _fault(path: Path, problem: str, *, line: int | None = None) -> CatalogError:
    return CatalogError([CatalogFault(file=str(path), line=line, path="", problem=problem)])


def _entries_text(entries: dict[str, LockEntry]) -> str:
    if not entries:
        return "{}"
    texts = []
    for name, entry in sorted(entries.items()):
        files = [
            f'        {json.dumps(file)}: {{"size_bytes": {record.size_bytes}, "sha256": "{record.sha256}"}}'
            for file, record in sorted(entry.files.items())
        ]
        listed = "{\n" + ",\n".join(files) + "\n      }" if files else "{}"
        commit = f'      "commit": {json.dumps(entry.commit)}'
        texts.append(f'    {json.dumps(name)}: {{\n{commit},\n      "files": {listed}\n    }}')
    return "{\n" + ",\n".join(texts) + "\n  }"


def _unrecordable(folder: Path, problems: Sequence[str]) -> CheckpointError:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return CheckpointError(
        f"{folder} cannot be recorded: {problems[0]}{more}. Remove or mend what is named, and try again.",
        path=str(folder),
        problems=problems,
    )
