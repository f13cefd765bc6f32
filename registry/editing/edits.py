"""A user's catalog file, changed in place: comments, order and quoting stay, and the result loads or nothing happens.

The file is read strictly before anything is made of it; at the end it has to load together with the catalogs
below and above it, and those very bytes are put in its place.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from registry.catalog import ENVIRONMENT, builtin_catalog_path, load_catalog, lock_path_of
from registry.editing.draft import Draft
from registry.errors import CatalogError, CatalogFault, UsageError
from registry.files.wholefile import sync_folder
from registry.lock import read_lock
from registry.names import find_model
from registry.reading.faults import FaultList
from registry.reading.yaml_nodes import MAX_BYTES, read_yaml
from registry.records import Catalog

EMPTY: Final = "version: 1\n"
PATIENCE_S: Final = 10.0
STALE_S: Final = 120.0


def edit_catalog(
    file: Path,
    change: Callable[[Draft], None],
    *,
    create: bool = False,
    dry_run: bool = False,
    environ: Mapping[str, str] | None = None,
) -> tuple[str, Catalog]:
    """Change a catalog file: strictly read, changed, loaded strictly with all other catalogs, then put in place whole.

    A second edit at the same time waits for the first.

    Args:
        file: The user's own; never the built-in one.
        change: Changes the draft.
        create: Begin with an empty catalog where there is no such file.
        dry_run: Leave the file as it is.
        environ: Where SPECREG_CATALOG is looked up; the process's environment when None.

    Returns:
        The file's new text, and all catalogs in one as they load with it.

    Raises:
        CatalogError: The file cannot be read strictly, or what comes of the change does not load: every fault.
        UsageError: It is the built-in catalog, cannot be written, or another edit does not end.
    """
    target = Path(os.path.realpath(file))
    if target == Path(os.path.realpath(builtin_catalog_path())):
        raise UsageError(
            "The built-in catalog is not edited: its next version would undo that. "
            "Give a file of your own with --file; its entries lie over the built-in ones."
        )
    try:
        with _held(target) as beside:
            data = _bytes(target, create=create)
            draft = Draft(_decoded(data, str(file)), str(file))
            change(draft)
            content = (b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b"") + draft.text.encode(
                "utf-8"
            )
            _write(beside, content, like=target)
            catalog = _loaded(beside, target, str(file), os.environ if environ is None else environ)
            if not dry_run and content != data:
                beside.replace(target)
                sync_folder(target.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{file} cannot be edited: {reason}. Mend that, and try again.") from error
    return draft.text, catalog


def catalog_to_edit(given: Path | None, environ: Mapping[str, str] | None = None) -> Path:
    """The file to edit: the one given, or the last of SPECREG_CATALOG. Raises UsageError where there is neither."""
    environ = os.environ if environ is None else environ
    named = [part for part in environ.get(ENVIRONMENT, "").split(os.pathsep) if part.strip()]
    if given is None and not named:
        raise UsageError("Which catalog? Give --file FILE, or name yours in SPECREG_CATALOG.")
    return given if given is not None else Path(named[-1]).expanduser()


@contextmanager
def _held(target: Path) -> Iterator[Path]:
    """The draft beside a file, which only one process has at a time; gone afterwards, unless it was renamed."""
    beside = target.with_name(f".{target.name}.draft")
    deadline = time.monotonic() + PATIENCE_S
    while (descriptor := _taken(beside)) is None:
        if time.monotonic() > deadline:
            raise UsageError(
                f"Another edit of {target} is under way, at {beside}. Try again when it has ended."
            )
        time.sleep(0.02)
    try:
        yield beside
    finally:
        with suppress(FileNotFoundError):
            if beside.stat().st_ino == os.fstat(descriptor).st_ino:  # once renamed, the next is another's
                beside.unlink()
        os.close(descriptor)


def _taken(beside: Path) -> int | None:
    """The draft, open and ours; None while another process has it. What a dead one left is taken over."""
    if sys.platform == "win32":
        with suppress(OSError):
            if time.time() - beside.stat().st_mtime > STALE_S:
                beside.unlink()
        try:
            return os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return None
    import fcntl  # noqa: PLC0415 - not on every platform

    descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if beside.stat().st_ino == os.fstat(descriptor).st_ino:  # not renamed by its last owner meanwhile
            return descriptor
    os.close(descriptor)
    return None


def _bytes(target: Path, *, create: bool) -> bytes:
    try:
        if not stat.S_ISREG(target.stat().st_mode):
            raise UsageError(f"{target} is no regular file: name a catalog file.")
        with target.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        if not create:
            raise
        return EMPTY.encode()


def _decoded(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        faults = FaultList(file)
        read_yaml(data, faults)
        raise CatalogError(faults.in_file_order()) from None


def _write(beside: Path, content: bytes, *, like: Path) -> None:
    with beside.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    with suppress(FileNotFoundError):
        beside.chmod(stat.S_IMODE(like.stat().st_mode))


def _loaded(beside: Path, target: Path, file: str, environ: Mapping[str, str]) -> Catalog:
    """All catalogs, with the draft in the file's place. Faults are told of the file, whose lines the edit moved."""
    named = [part for part in environ.get(ENVIRONMENT, "").split(os.pathsep) if part.strip()]
    ours = [os.path.realpath(Path(part).expanduser()) == str(target) for part in named]
    parts = [str(beside) if mine else part for part, mine in zip(named, ours, strict=True)]
    try:
        return load_catalog(
            () if any(ours) else beside, environ={**environ, ENVIRONMENT: os.pathsep.join(parts)}
        )
    except CatalogError as error:
        faults = [
            replace(one, file=file, line=None) if one.file == str(beside) else one for one in error.faults
        ]
        raise CatalogError(faults) from error


def aliases_with(
    file: Path, names: Sequence[str], *, environ: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """The aliases of models, called by any of their names, as the catalogs know them together with `file`.

    Raises:
        UnknownNameError: No model is called so.
        CatalogError: They do not load.
    """
    known = load_catalog(file if file.exists() else (), environ=environ)
    return tuple(find_model(known, name).alias for name in names)


def faults_of(file: Path) -> tuple[CatalogFault, ...]:
    """Every fault of a catalog file, laid over those below, and of the lock beside it.

    Raises:
        UsageError: There is no such file.
    """
    if not file.exists():
        raise UsageError(f"There is no {file}: check the path.")
    faults: list[CatalogFault] = []
    for read in (lambda: load_catalog(file), lambda: read_lock(lock_path_of(file.absolute()))):
        try:
            read()
        except CatalogError as error:
            faults += error.faults
    return tuple(faults)
