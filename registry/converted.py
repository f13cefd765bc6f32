"""What was converted from pickles: where it lies, and the record that says what it was made from.

`<home>/converted/<sha256 of the pickle>/` holds `config.json`, `model.safetensors` and `conversion.json`. It is
used only for the pickle whose recorded sha256 is its folder's name, and only when its files are, at this moment,
those that its own record tells: the bytes that are hashed are the bytes that are handed out. That guards
against corruption and mixed-up files, not against whoever writes to this home.

A folder is made beside its place, synced to disk and renamed, so it is there whole or not at all; of two
processes that make the same one, the first is kept.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from registry.errors import CheckpointError, UsageError
from registry.files.folder import CheckpointFolder
from registry.files.manifest import read_recorded
from registry.files.strictjson import StrictJSONError, parse_json
from registry.headsight import CONFIG, WEIGHTS
from registry.home import home
from registry.records import FileRecord, Record

RECORD: Final = "conversion.json"
MAX_RECORD_BYTES: Final = 1 << 16
MAX_WEIGHTS_BYTES: Final = 4 << 30
STALE_S: Final = 3600
MOST_TRIES: Final = 100
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Origin(Record):
    """Where a pickle came from, as far as it is known: a head of the catalog, a repo and commit, a folder."""

    head: str | None = None
    repo: str | None = None
    commit: str | None = None
    folder: str


class ConversionRecord(Record):
    """`conversion.json`: what was made from what, by what, and when (UTC, ISO 8601)."""

    origin: Origin
    pickle: FileRecord
    config: FileRecord
    weights: FileRecord
    stored_form: str
    torch: str
    specreg: str
    when: str


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """A sound conversion: its folder (None when it could not be kept), its record and the bytes of its weights.

    `fresh` tells one that was made just now from one that was found.
    """

    folder: Path | None
    record: ConversionRecord
    weights: bytes
    fresh: bool = False


def conversion_folder(sha256: str) -> Path:
    """Where the conversion of the pickle with that sha256 lies, or would lie.

    Raises:
        UsageError: that is no sha256.
    """
    if not _DIGEST.fullmatch(sha256):
        raise UsageError(f"A conversion is named by a sha256 of 64 hex digits, got {ascii(sha256)[:80]}.")
    return home() / "converted" / sha256


def find_conversion(sha256: str) -> Conversion | None:
    """The conversion of the pickle with that sha256; None where there is none.

    Raises:
        CheckpointError: there is one, and it is not what its record says.
    """
    folder = conversion_folder(sha256)
    if not folder.exists():
        return None
    record = _read_record(folder)
    if record.pickle.sha256 != sha256:
        raise _unsound(folder, f"it was made from another pickle, sha256 {record.pickle.sha256}")
    checkpoint = CheckpointFolder(folder)
    files = {
        name: read_recorded(checkpoint, kept, name, subject=str(folder), max_bytes=MAX_WEIGHTS_BYTES)
        for name, kept in ((CONFIG, record.config), (WEIGHTS, record.weights))
    }
    return Conversion(folder=folder, record=record, weights=files[WEIGHTS])


def keep_conversion(record: ConversionRecord, config: bytes, weights: bytes) -> Path:
    """Put a conversion in its place under the home; one that is there and sound stays, an unsound one goes.

    Raises:
        OSError: the home cannot be written to.
    """
    folder = conversion_folder(record.pickle.sha256)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    beside = _written(folder, record, config, weights)
    try:
        for _ in range(MOST_TRIES):
            if _moved(beside, folder) or _is_sound(record.pickle.sha256):
                break
            _set_aside(folder)
        else:
            raise OSError(errno.EBUSY, "other processes keep changing it")
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    _sync(folder.parent)
    return folder


def write_conversion(record: ConversionRecord, config: bytes, weights: bytes, folder: Path) -> None:
    """Write a conversion to a folder of the user's choice, which must not be there yet, or be empty.

    Raises:
        UsageError: something is there already, or it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_dir():
            folder.rmdir()
        beside = _written(folder, record, config, weights)
        try:
            if not _moved(beside, folder):
                raise FileExistsError(None, "it was made by another in the meantime")
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        _sync(folder.parent)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written: {error.strerror or error}. Nothing was written. "
            "Give a folder that is not there yet, or an empty one."
        ) from error


def record_of(content: bytes) -> FileRecord:
    """Size and sha256 of a file's content."""
    return FileRecord(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _read_record(folder: Path) -> ConversionRecord:
    try:
        with CheckpointFolder(folder).open(RECORD) as file:
            content = parse_json(file.read(MAX_RECORD_BYTES))
        return ConversionRecord.model_validate(content)
    except OSError as error:
        raise _unsound(folder, f"{RECORD} cannot be read: {error.strerror or error}") from error
    except StrictJSONError as error:
        raise _unsound(folder, f"{RECORD} is {error}") from error
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise _unsound(folder, f"{RECORD}: {where or 'all of it'}: {fault['msg']}") from error


def _is_sound(sha256: str) -> bool:
    try:
        return find_conversion(sha256) is not None
    except CheckpointError:
        return False


def _written(folder: Path, record: ConversionRecord, config: bytes, weights: bytes) -> Path:
    """A folder beside `folder` with the three files, all on the disk."""
    beside = _beside(folder)
    beside.mkdir()
    text = json.dumps(record.model_dump(mode="json"), indent=2) + "\n"
    try:
        for name, content in ((CONFIG, config), (WEIGHTS, weights), (RECORD, text.encode())):
            with (beside / name).open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        _sync(beside)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return beside


def _moved(beside: Path, folder: Path) -> bool:
    """Whether it was moved to its place; not where something is."""
    try:
        beside.rename(folder)
    except OSError as error:
        # what was there a moment ago may have been set aside by another process since
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST} and not os.path.lexists(folder):
            raise
        return False
    return True


def _set_aside(folder: Path) -> None:
    """Take away what is not sound: moved first, so that the name is free at once."""
    away = _beside(folder)
    try:
        folder.rename(away)
    except FileNotFoundError:  # another process was faster
        return
    if away.is_dir() and not away.is_symlink():
        shutil.rmtree(away, ignore_errors=True)
    else:
        away.unlink()


def _beside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")


def _sweep(parent: Path) -> None:
    """Remove what writers left that died an hour ago or earlier."""
    for leftover in parent.glob(".*.tmp"):
        try:
            if time.time() - leftover.stat().st_mtime > STALE_S:
                shutil.rmtree(leftover)
        except OSError:  # another writer's, or already gone
            continue


def _sync(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unsound(folder: Path, problem: str) -> CheckpointError:
    return CheckpointError(
        f"The conversion in {folder} is not as it was made: {problem}. Nothing was loaded from it. "
        "Remove the folder, or convert again.",
        path=str(folder),
        problems=[problem],
    )
