"""Digests of a catalog's own checkpoints, put into the lock beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from registry.catalog import load_catalog, lock_path_of
from registry.errors import NotInstalledError
from registry.lock import Lock, lock_folder, read_lock, write_lock
from registry.places import Place, head_place, model_place
from registry.records import LockEntry


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What was hashed. `changed` names entries that the lock had differently, or not at all."""

    lock_path: Path
    lock: Lock
    recorded: tuple[str, ...]
    changed: tuple[str, ...]


def record_catalog(file: Path) -> Recording:
    """Hash every head and model that a catalog file keeps in folders or packages; nothing is written.

    Entries of the Hub keep the record they have: downloading writes theirs.

    Raises:
        CatalogError: The catalog or its lock cannot be used.
        NotInstalledError: A folder that the catalog names is not there.
    """
    catalog = load_catalog(file)
    lock_path = lock_path_of(file.absolute())
    lock = before = read_lock(lock_path)
    own = file.absolute().parent
    recorded: list[str] = []
    for head in catalog.heads:
        source = catalog.sources[head.from_]
        if source.hub is None and source.base == own:
            lock = lock.with_head(head.name, _hashed(head_place(catalog, head), head.name))
            recorded.append(head.name)
    for model in catalog.models.values():
        if model.hub is None and model.base == own:
            lock = lock.with_model(model.alias, _hashed(model_place(model), model.alias))
            recorded.append(model.alias)
    known = {**before.heads, **before.models}
    found = {**lock.heads, **lock.models}
    changed = tuple(name for name in recorded if known.get(name) != found[name])
    return Recording(lock_path=lock_path, lock=lock, recorded=tuple(recorded), changed=changed)


def write_recording(recording: Recording) -> None:
    """Put the lock in its place, whole or not at all."""
    write_lock(recording.lock, recording.lock_path)


def _hashed(place: Place, name: str) -> LockEntry:
    if place.folder is None:
        raise NotInstalledError(
            subject=name, where=place.looked_in, next_step="Put its files there, or take the entry out."
        )
    return lock_folder(place.folder)
