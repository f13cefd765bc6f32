"""Heads stored as pickles, made into safetensors once and kept; the pickle stays as it is.

What a pickle holds is found out in the sandbox alone. What comes out of it is compared with what was in it,
tensor by tensor, and kept under the sha256 of the pickle, so that the next load finds it.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from heads import stored
from heads.sandbox import Sandbox
from registry.converted import (
    Conversion,
    ConversionRecord,
    Origin,
    find_conversion,
    keep_conversion,
    record_of,
    write_conversion,
)
from registry.errors import CheckpointError, NotInstalledError, UsageError
from registry.files.folder import CheckpointFolder
from registry.files.layout import (
    MAX_CONFIG_BYTES,
    HeadConfig,
    expected_shapes,
    parse_head_config,
    stored_form,
    stored_names,
)
from registry.files.tensorfile import PREFIX_BYTES, read_header
from registry.headsight import CONFIG, PICKLE
from registry.records import FileRecord, Head
from registry.verify import MAX_HEAD_FILE_BYTES, read_verified

if TYPE_CHECKING:
    from registry.shelf import Shelf

MAX_ITEM_BYTES: Final = 8
NO_MEMORY: Final = "reading it takes more memory than there is"
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A pickle that may have been converted already: its bytes are only asked for when it was not."""

    name: str
    sha256: str
    config: bytes
    origin: Origin
    read: Callable[[], bytes]


def on_stderr(line: str) -> None:
    """A word to whoever waits."""
    sys.stderr.write(f"specreg: {line}\n")
    sys.stderr.flush()


def convert_head(
    shelf: Shelf,
    head: Head,
    out: Path | None = None,
    *,
    sandbox: Sandbox | None = None,
    say: Say = on_stderr,
    must_keep: bool = True,
) -> Conversion:
    """Convert a head of the catalog whose weights are a pickle; one that was converted already is only found.

    Args:
        shelf: The catalog and its locks.
        head: Its pickle must be here, and as recorded.
        out: A folder for it, not there yet or empty; specreg's own home when None.
        sandbox: To convert several heads in one; a new one when None.
        say: Is told what happens, in lines.
        must_keep: Whether a home that cannot be written to is an error; else the conversion is in memory only.

    Raises:
        CheckpointError: no pickle, no record of it, a pickle that differs from its record, or one that was refused.
        NotInstalledError: the head is not on this machine.
        UsageError: the conversion cannot be written.
    """
    place = shelf.head_place(head)
    folder = place.installed(head.name)
    entry = shelf.lock.heads.get(head.name)
    config = read_verified(folder, entry, (CONFIG,), subject=head.name)[CONFIG]
    record = entry.files.get(PICKLE) if entry is not None else None
    most = most_bytes(parse_head_config(config, file=str(folder / CONFIG)))
    if record is not None and record.size_bytes > most:
        raise stored.refused(str(folder / PICKLE), [too_large(record.size_bytes, most)])

    def read() -> bytes:
        try:
            return read_verified(folder, entry, (PICKLE,), subject=head.name)[PICKLE]
        except MemoryError as error:
            raise stored.refused(str(folder / PICKLE), [NO_MEMORY]) from error

    source = _Source(
        name=head.name,
        sha256=record.sha256 if record is not None else record_of(read()).sha256,
        config=config,
        origin=Origin(
            head=head.name,
            repo=shelf.catalog.sources[head.from_].hub,
            commit=place.commit,
            folder=head.folder if place.kind == "hub" else str(folder),
        ),
        read=read,
    )
    return _converted(source, out, sandbox=sandbox, say=say, must_keep=must_keep)


def convert_folder(
    folder: str | Path, out: Path | None = None, *, sandbox: Sandbox | None = None, say: Say = on_stderr
) -> Conversion:
    """Convert a head that no catalog knows: a folder with config.json and pytorch_model.bin.

    Arguments and errors are those of `convert_head`; there is no record to compare the files with.
    """
    path = Path(folder)
    if not path.is_dir():
        raise NotInstalledError(
            subject=f"The folder {str(folder)!r}",
            where="folders of this machine",
            next_step="Give a folder with config.json and pytorch_model.bin, or the name of a head.",
        )
    config, _ = _read(path, CONFIG, MAX_CONFIG_BYTES)
    pickle, sha256 = _read(path, PICKLE, most_bytes(parse_head_config(config, file=str(path / CONFIG))))
    source = _Source(
        name=str(folder),
        sha256=sha256,
        config=config,
        origin=Origin(folder=str(path.absolute())),
        read=lambda: pickle,
    )
    return _converted(source, out, sandbox=sandbox, say=say, must_keep=True)


def weights_of_pickle(pickle: bytes, config: bytes, *, file: str, say: Say = on_stderr) -> bytes:
    """The safetensors file for a pickle that is about to be loaded: converted once, or found again.

    Raises:
        CheckpointError: the pickle is refused.
    """
    source = _Source(
        name=file,
        sha256=hashlib.sha256(pickle).hexdigest(),
        config=config,
        origin=Origin(folder=str(Path(file).parent.absolute())),
        read=lambda: pickle,
    )
    return _converted(source, None, sandbox=None, say=say, must_keep=False).weights


def _converted(
    source: _Source, out: Path | None, *, sandbox: Sandbox | None, say: Say, must_keep: bool
) -> Conversion:
    found = _found(source, say)
    if found is None:
        say(f"{source.name} is stored as a pickle; it is converted first, in a process with limits.")
        found = _made(source, sandbox)
        if out is None:
            found = _kept(found, source, say, must_keep=must_keep)
    if out is not None:
        write_conversion(found.record, source.config, found.weights, out)
        return replace(found, folder=out, fresh=True)
    return found


def _found(source: _Source, say: Say) -> Conversion | None:
    try:
        return find_conversion(source.sha256)
    except CheckpointError as error:
        say(f"{source.name} was converted before, but what is kept of it is not used: {error.problems[0]}.")
        return None


def _made(source: _Source, sandbox: Sandbox | None) -> Conversion:
    config = parse_head_config(source.config)
    pickle = source.read()
    with nullcontext(sandbox) if sandbox is not None else Sandbox() as room:
        weights = room.convert(pickle, config, file=source.name)
    record = ConversionRecord(
        origin=source.origin,
        pickle=FileRecord(size_bytes=len(pickle), sha256=source.sha256),
        config=record_of(source.config),
        weights=record_of(weights),
        stored_form=stored_form(stored_names(read_header(weights), config)),
        torch=str(torch.__version__),
        specreg=version("specreg"),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return Conversion(folder=None, record=record, weights=weights, fresh=True)


def _kept(made: Conversion, source: _Source, say: Say, *, must_keep: bool) -> Conversion:
    try:
        folder = keep_conversion(made.record, source.config, made.weights)
    except OSError as error:
        reason = error.strerror or str(error)
        if must_keep:
            raise UsageError(
                f"The conversion of {source.name} cannot be kept: {reason}. Nothing was written. "
                "Set SPECREG_HOME to a folder that can be written to, or give --out."
            ) from error
        say(f"{source.name}: the conversion cannot be kept ({reason}); it is made again next time.")
        return made
    if not must_keep:  # whoever asked for the conversion itself is told by what comes back
        say(f"{source.name}: converted, {folder}")
    return replace(made, folder=folder)


def most_bytes(config: HeadConfig) -> int:
    """The longest file that the weights of such a head are read from: what its tensors can take, 4 GiB at most.

    Whoever wrote the weights wrote config.json too, and a config can ask for terabytes.
    """
    elements = sum(math.prod(shape) for shape in expected_shapes(config).values())
    return min(PREFIX_BYTES + MAX_ITEM_BYTES * elements, MAX_HEAD_FILE_BYTES)


def too_large(found: int, most: int) -> str:
    """The problem of a file that is longer than it may be."""
    return f"{found} bytes, more than the {most} such a head can take"


def _read(folder: Path, name: str, most: int) -> tuple[bytes, str]:
    """A file of a folder and its sha256."""
    try:
        with CheckpointFolder(folder).open(name) as file:
            if file.size_bytes > most:
                raise stored.refused(str(folder / name), [too_large(file.size_bytes, most)])
            return file.read_all(), file.sha256()
    except FileNotFoundError as error:
        raise stored.refused(str(folder / name), ["the file is missing"]) from error
    except OSError as error:
        raise stored.refused(str(folder / name), [f"it cannot be read: {error.strerror or error}"]) from error
    except MemoryError as error:
        raise stored.refused(str(folder / name), [NO_MEMORY]) from error
