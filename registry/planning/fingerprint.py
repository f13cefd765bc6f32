"""Whether checkpoints are still those that were measured."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from registry.records import LockEntry
from registry.shelf import Shelf

UNRECORDED = "unrecorded"


def fingerprint(shelf: Shelf, models: Sequence[str], heads: Sequence[str] = ()) -> str:
    """One sha256 over the digests of every file on record, of models by alias and of heads by name.

    It is the same in whatever order they are named, and another as soon as a file of one of them is, or a head's
    calibration in the catalog, by which drafts stop. What has no record counts as 'unrecorded'.
    """
    told = [f"model {name} {_digests(shelf.lock.models.get(name))}" for name in sorted(set(models))]
    told += [f"head {name} {_digests(shelf.lock.heads.get(name))}" for name in sorted(set(heads))]
    told += [
        f"calibration {head.name} {head.calibration.model_dump_json(exclude_none=True)}"
        for head in shelf.catalog.heads
        if head.name in heads and head.calibration is not None
    ]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _digests(entry: LockEntry | None) -> str:
    if entry is None:
        return UNRECORDED
    return " ".join(f"{name}={record.sha256}" for name, record in sorted(entry.files.items()))
