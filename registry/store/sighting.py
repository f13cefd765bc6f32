"""What is on this machine, as the store remembers it: folder, commit, files and their recorded digests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import CheckpointError
from registry.files.folder import CheckpointFolder
from registry.places import Place
from registry.records import Head, LockEntry, Model
from registry.store.records import Kind, Origin, StoredFile

if TYPE_CHECKING:
    from registry.hub.outcome import DownloadReport
    from registry.shelf import Shelf


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """A checkpoint as it was just seen in a folder."""

    kind: Kind
    name: str
    source: Origin
    repo: str | None
    commit: str | None
    folder: str
    files: tuple[StoredFile, ...]


def sighting_of(shelf: Shelf, checkpoint: Head | Model) -> Sighting | None:
    """What of a head or model is here; None when it is not."""
    place = place_of(shelf, checkpoint)
    if place.folder is None:
        return None
    return _sighting(
        shelf, checkpoint, source=place.kind, commit=place.commit, folder=folder_text(place.folder)
    )


def sightings_on(shelf: Shelf) -> Iterator[Sighting]:
    """Every head and model of the shelf that is here."""
    every: list[Head | Model] = [*shelf.catalog.heads, *shelf.catalog.models.values()]
    for checkpoint in every:
        seen = sighting_of(shelf, checkpoint)
        if seen is not None:
            yield seen


def sightings_in(report: DownloadReport, shelf: Shelf) -> Iterator[Sighting]:
    """What a download left here. The shelf was reloaded since, so that it knows what was recorded."""
    for outcome in (*report.heads, *report.models):
        checkpoint = checkpoint_of(shelf, outcome.kind, outcome.name)
        if checkpoint is not None:
            yield _sighting(
                shelf,
                checkpoint,
                source=outcome.source,
                commit=outcome.commit,
                folder=folder_text(Path(outcome.folder)),
            )


def checkpoint_of(shelf: Shelf, kind: Kind, name: str) -> Head | Model | None:
    """The shelf's entry of that name, if it still has one."""
    if kind == "model":
        return shelf.catalog.models.get(name)
    return next((head for head in shelf.catalog.heads if head.name == name), None)


def place_of(shelf: Shelf, checkpoint: Head | Model) -> Place:
    """Where a head or model is on this machine."""
    return shelf.head_place(checkpoint) if isinstance(checkpoint, Head) else shelf.model_place(checkpoint)


def folder_text(folder: Path) -> str:
    """A folder as the store writes it: absolute, links as they are."""
    return str(folder.absolute())


def _sighting(
    shelf: Shelf, checkpoint: Head | Model, *, source: Origin, commit: str | None, folder: str
) -> Sighting:
    if isinstance(checkpoint, Head):
        kind: Kind = "head"
        name, repo = checkpoint.name, shelf.catalog.sources[checkpoint.from_].hub
        entry = shelf.lock.heads.get(name)
    else:
        kind, name, repo = "model", checkpoint.alias, checkpoint.hub
        entry = shelf.lock.models.get(name)
    return Sighting(
        kind=kind,
        name=name,
        source=source,
        repo=repo,
        commit=commit,
        folder=folder,
        files=tuple(_files(Path(folder), entry)),
    )


def _files(folder: Path, entry: LockEntry | None) -> Iterator[StoredFile]:
    """The files that can be seen. A record of another size is not this file's."""
    records = entry.files if entry is not None else {}
    try:
        names = CheckpointFolder(folder).names()
    except (OSError, CheckpointError):  # verifying tells of it; here it only leaves nothing to list
        return
    for name in names:
        try:
            size_bytes = (folder / name).stat().st_size
        except OSError:
            continue
        record = records.get(name)
        same = record is not None and record.size_bytes == size_bytes
        yield StoredFile(path=name, size_bytes=size_bytes, sha256=record.sha256 if record and same else None)
