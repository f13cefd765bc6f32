"""The record of what was downloaded without an entry in a catalog's lock: downloaded.lock of SPECREG_HOME."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from registry.errors import UsageError
from registry.hub.orders import Order
from registry.lock import is_damaged, read_downloaded, write_lock
from registry.records import LockEntry


def remember(path: Path, order: Order, entry: LockEntry) -> None:
    """Put the record of a checkpoint into the file at `path`, whatever other processes put there meanwhile.

    Raises:
        UsageError: It cannot be read or written, or another process holds it too long.
    """
    from registry.hub.turns import held  # noqa: PLC0415 - the Hub's client is loaded for what was not here

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with held(path.with_name(f"{path.name}.held")):
            _sweep(path)
            lock = read_downloaded(path)
            known = (lock.heads if order.kind == "head" else lock.models).get(order.name)
            if known != entry:
                with_entry = lock.with_head if order.kind == "head" else lock.with_model
                write_lock(with_entry(order.name, entry), path)
    except OSError as error:  # waiting too long for another process is one too
        reason = error.strerror or "another process holds it"
        raise UsageError(
            f"{order.name} is here, but {path} could not be written: {reason}. "
            "Mend that, or point SPECREG_HOME elsewhere, and download again."
        ) from error


def set_aside(path: Path) -> Path | None:
    """Give a damaged record another name beside its own, and return that; None where it is not damaged.

    Nothing is deleted. What it told of is hashed anew by the next download.

    Raises:
        UsageError: It cannot be renamed, or another process holds it too long.
    """
    if not is_damaged(path):
        return None
    from registry.hub.turns import held  # noqa: PLC0415 - the Hub's client is loaded for a damaged record only

    try:
        with held(path.with_name(f"{path.name}.held")):
            if not is_damaged(path):  # another process was here first, and may have written a new one
                return None
            aside = path.with_name(f"{path.name}.bad-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
            path.rename(aside)
            return aside
    except OSError as error:  # waiting too long for another process is one too
        reason = error.strerror or "another process holds it"
        raise UsageError(
            f"{path}, the damaged record of what was downloaded, could not be set aside: {reason}. "
            "Mend that, and try again, or move it away."
        ) from error


def _sweep(path: Path) -> None:
    """Half-written files of processes that are no more: whoever writes there holds the lock, as we do."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        pid = leftover.name.removeprefix(f".{path.name}.").partition(".")[0]
        if pid.isdigit() and int(pid) != os.getpid() and not _runs(int(pid)):
            with suppress(OSError):
                leftover.unlink()


def _runs(pid: int) -> bool:
    if os.name == "nt":  # asking by signal would end it there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
