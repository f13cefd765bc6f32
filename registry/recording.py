"""A catalog's checkpoints as they are now, beside what the lock of the catalog says of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from registry.catalog import load_catalog, lock_path_of
from registry.editing.ownpart import own_part
from registry.errors import (
    CheckpointError,
    HubError,
    NotInstalledError,
    RecordingError,
    SpecregError,
    UnknownNameError,
    UsageError,
)
from registry.hub.history import Histories, Moved
from registry.hub.remote import HOPELESS, asked_hub, remote_entry
from registry.lock import Lock, lock_folder, read_lock, write_lock
from registry.names import find_heads, find_model, nearest
from registry.places import DEFAULT_REVISION, Place, head_place, model_place
from registry.recordable import require_sound, require_whole
from registry.records import HEAD_SEPARATOR, Catalog, LockEntry, Model, Source

if TYPE_CHECKING:
    from registry.hub.client import Hub

_COMMIT = re.compile(r"[0-9a-f]{40}")

Kind = Literal["head", "model"]


@dataclass(frozen=True, kw_only=True)
class FileChange:
    """A file whose record is new, gone or another."""

    path: str
    status: Literal["added", "removed", "changed"]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One checkpoint: what the lock had, and what is to stand there. `now` is None for what the catalog let go."""

    kind: Kind
    name: str
    before: LockEntry | None
    now: LockEntry | None
    moved: Moved | None = None

    @property
    def changed(self) -> bool:
        """Whether the lock has it differently, or not at all."""
        return self.before != self.now

    @property
    def files(self) -> tuple[FileChange, ...]:
        """What changed, sorted by path."""
        before = self.before.files if self.before else {}
        now = self.now.files if self.now else {}
        changes: list[FileChange] = []
        for path in sorted(before.keys() | now.keys()):
            if path not in before:
                changes.append(FileChange(path=path, status="added"))
            elif path not in now:
                changes.append(FileChange(path=path, status="removed"))
            elif before[path] != now[path]:
                changes.append(FileChange(path=path, status="changed"))
        return tuple(changes)


@dataclass(frozen=True, kw_only=True)
class Recording:
    """All that was looked at, and the lock that follows from it. Nothing is written yet."""

    lock_path: Path
    lock: Lock
    looked_at: tuple[Recorded, ...]

    @property
    def recorded(self) -> tuple[str, ...]:
        """Names of what is there and was read."""
        return tuple(one.name for one in self.looked_at if one.now is not None)

    @property
    def changed(self) -> tuple[Recorded, ...]:
        """What the lock has differently, or not at all, or no longer should have."""
        return tuple(one for one in self.looked_at if one.changed)

    @property
    def moved(self) -> tuple[Recorded, ...]:
        """What stays at its commit though its revision stands elsewhere now."""
        return tuple(one for one in self.looked_at if one.moved is not None)

    @property
    def strayed(self) -> tuple[Recorded, ...]:
        """What of that stays at a commit that is not in the history of its revision: a fault."""
        return tuple(one for one in self.moved if one.moved is not None and one.moved.led_here is False)


def record_catalog(
    file: Path,
    *,
    names: Sequence[str] = (),
    models: bool = False,
    local: bool = False,
    upgrade: bool = False,
    held: bool = False,
    damaged: bool = False,
    endpoint: str | None = None,
    timeout_s: float = 60.0,
) -> Recording:
    """Read every head and model that a catalog file names; nothing is written.

    Folders and packages are hashed. Heads on the Hub are listed at the commit that the lock has, or where it has
    none, at the one their revision stands at now. That revision has to be there either way. Entries of what the
    file no longer names are let go.

    Args:
        file: The catalog.
        names: Only these heads and models; the rest of the lock stays as it is.
        models: Base models on the Hub as well.
        local: Leave the Hub alone; its entries stay as they are.
        upgrade: Take the commit that the revision stands at now, whatever the lock has.
        held: Those base models on the Hub as well that the lock has a record of.
        damaged: Take safetensors files in folders that cannot be loaded too, for what is only compared with the lock.
        endpoint: Where the Hub is; HF_ENDPOINT, or the public one, when None.
        timeout_s: Seconds without a byte after which a request is given up.

    Raises:
        CatalogError: The catalog or its lock cannot be used.
        UnknownNameError: `names` holds one that the catalog does not.
        UsageError: Some checkpoints could not be read, or are not whole. One problem is its own sentence; of
            several a RecordingError tells every one.
    """
    catalog = load_catalog(file)
    lock_path = lock_path_of(file.absolute())
    lock = read_lock(lock_path)
    own = own_part(catalog, file.absolute())
    only = {name for given in names for name in _called(catalog, own, given)}
    orders = [
        order
        for order in _orders(catalog, own, lock, models=models or bool(only), held=held)
        if (not only or order.name in only) and not (local and order.source.hub is not None)
    ]
    with _Reading(upgrade=upgrade, damaged=damaged, endpoint=endpoint, timeout_s=timeout_s) as reading:
        found = list(reading.all(orders))
    dropped = () if only else tuple(_dropped(own, lock))
    return Recording(
        lock_path=lock_path,
        lock=_with(lock, [*found, *dropped]),
        looked_at=(*found, *dropped),
    )


def write_recording(recording: Recording) -> None:
    """Put the lock in its place, whole or not at all.

    Raises:
        UsageError: Its folder cannot be written to.
    """
    try:
        write_lock(recording.lock, recording.lock_path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(
            f"{recording.lock_path} could not be written: {reason}. Mend that, and try again."
        ) from error


@dataclass(frozen=True, kw_only=True)
class _Order:
    """A checkpoint to read: where it lies, and what the lock has of it."""

    kind: Kind
    name: str
    source: Source | Model
    inside: str
    before: LockEntry | None
    look: Callable[[], Place]


class _Reading:
    """Reads checkpoints one after the other, with the Hub opened at the first need, and collects what fails."""

    def __init__(self, *, upgrade: bool, damaged: bool, endpoint: str | None, timeout_s: float) -> None:
        self._upgrade, self._damaged = upgrade, damaged
        self._settings = {"endpoint": endpoint, "timeout_s": timeout_s}
        self._stack = ExitStack()
        self._hub: Hub | None = None
        self._commits: dict[tuple[str, str], str] = {}
        self._histories = Histories()

    def __enter__(self) -> _Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def all(self, orders: Iterable[_Order]) -> Iterator[Recorded]:
        """Each checkpoint as it is.

        Raises:
            UsageError: Some could not be read; told when all others were tried.
        """
        problems: dict[str, SpecregError] = {}
        hopeless = False
        for order in orders:
            if hopeless and order.source.hub is not None:
                continue
            try:
                recorded = self._recorded(order)
            except CheckpointError as error:
                problems.setdefault(str(error), _unread(error))
            except SpecregError as error:
                problems.setdefault(str(error), error)
                hopeless = hopeless or (isinstance(error, HubError) and error.reason in HOPELESS)
            else:
                yield recorded
        if len(problems) == 1:
            raise next(iter(problems.values()))
        if problems:
            raise RecordingError(list(problems.values()))

    def _recorded(self, order: _Order) -> Recorded:
        place = order.look()  # also proves that repo, revision and folder are what they should be
        moved = None
        if order.source.hub is not None:
            now, moved = self._from_hub(order, order.source.hub)
        elif place.folder is None:
            raise NotInstalledError(
                subject=order.name,
                where=place.looked_in,
                next_step="Put its files there, or take the entry out.",
            )
        else:
            now = lock_folder(place.folder)
            require_whole(order.kind, order.name, place.folder, now)
            if not self._damaged:
                require_sound(order.kind, order.name, place.folder, now)
        return Recorded(kind=order.kind, name=order.name, before=order.before, now=now, moved=moved)

    def _from_hub(self, order: _Order, repo: str) -> tuple[LockEntry, Moved | None]:
        if self._hub is None:
            self._hub = self._stack.enter_context(asked_hub(**self._settings))  # type: ignore[arg-type]
        revision = order.source.revision or DEFAULT_REVISION
        pinned = order.before.commit if order.before is not None and not self._upgrade else None
        if _COMMIT.fullmatch(revision):
            commit, moved = revision, None
        else:
            # Asked for a pinned commit too: a revision that is not there is a fault, one that went on is news.
            stands_at = self._commit_now(self._hub, repo, revision)
            commit = pinned or stands_at
            moved = self._histories.moved(self._hub, repo, revision, commit=commit, stands_at=stands_at)
        return remote_entry(self._hub, repo, commit, order.inside, kind=order.kind), moved

    def _commit_now(self, hub: Hub, repo: str, revision: str) -> str:
        if (repo, revision) not in self._commits:
            self._commits[repo, revision] = hub.commit_of(repo, revision)
        return self._commits[repo, revision]


def _unread(error: CheckpointError) -> UsageError:
    """A file that cannot be recorded is none that was compared and differs: the command could not look."""
    unread = UsageError(str(error))
    unread.__cause__ = error
    return unread


def _orders(catalog: Catalog, own: Catalog, lock: Lock, *, models: bool, held: bool) -> Iterator[_Order]:
    for head in own.heads:
        yield _Order(
            kind="head",
            name=head.name,
            source=catalog.sources[head.from_],
            inside=head.folder,
            before=lock.heads.get(head.name),
            look=lambda head=head: head_place(catalog, head),  # type: ignore[misc]
        )
    for model in own.models.values():
        here = model.package is not None or model.path is not None
        wanted = models or (held and model.alias in lock.models)
        if here or (wanted and model.hub is not None):
            yield _Order(
                kind="model",
                name=model.alias,
                source=model,
                inside="",
                before=lock.models.get(model.alias),
                look=lambda model=model: model_place(model),  # type: ignore[misc]
            )


def _called(catalog: Catalog, own: Catalog, name: str) -> list[str]:
    """What of the file's own the name calls; models answer to names of the catalogs below too."""
    if HEAD_SEPARATOR in name:
        kind, known = "head", {head.name for head in own.heads}
        found = [head.name for head in find_heads(catalog, name)]
    else:
        kind, known = "model", set(own.models)
        found = [find_model(catalog, name).alias]
    called = [one for one in found if one in known]
    if not called:
        raise UnknownNameError(
            kind=f"{kind} of this catalog file", name=name, suggestions=nearest(name, known)
        )
    return called


def _dropped(own: Catalog, lock: Lock) -> Iterator[Recorded]:
    """What the lock records though the catalog does not name it."""
    heads = {head.name for head in own.heads}
    for name, entry in lock.heads.items():
        if name not in heads:
            yield Recorded(kind="head", name=name, before=entry, now=None)
    for alias, entry in lock.models.items():
        if alias not in own.models:
            yield Recorded(kind="model", name=alias, before=entry, now=None)


def _with(lock: Lock, found: Iterable[Recorded]) -> Lock:
    heads, models = dict(lock.heads), dict(lock.models)
    for one in found:
        entries = heads if one.kind == "head" else models
        if one.now is None:
            entries.pop(one.name, None)
        else:
            entries[one.name] = one.now
    return Lock(heads=heads, models=models)
