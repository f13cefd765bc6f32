"""The catalog beside what its sources hold now: heads that are new, gone, or other than what was recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from registry.editing.collection import Collection, OddFolder, folder_collection, hub_collection
from registry.errors import CheckpointError, HubError, SpecregError, UnknownNameError
from registry.files.folder import shown_name
from registry.headsight import CONFIG, PICKLE, WEIGHTS
from registry.hub.remote import HOPELESS, asked_hub
from registry.lock import Lock, lock_folder
from registry.names import fold, nearest
from registry.places import DEFAULT_REVISION, head_place
from registry.reading.layer import head_key
from registry.records import Catalog, FileRecord, Head, LockEntry, Source

if TYPE_CHECKING:
    from registry.hub.client import Hub, RemoteFile

Side = dict[str, dict[str, "RemoteFile"]]
"""What a repository holds at one commit: folder -> name -> file."""

Status = Literal["new", "taken", "gone", "changed", "same", "unrecorded"]


@dataclass(frozen=True, kw_only=True)
class Discovery:
    """A head, by its name in the catalog, or by its folder where it has none there, and how it stands."""

    head: str
    folder: str
    status: Status
    files: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SourceReport:
    """One source: what it holds beside what the catalog says. `problem` is why it could not be looked at."""

    source: str
    where: str
    commit: str | None = None
    heads: tuple[Discovery, ...] = ()
    odd: tuple[OddFolder, ...] = ()
    problem: SpecregError | None = None

    def of(self, status: Status) -> tuple[Discovery, ...]:
        """The heads that stand so."""
        return tuple(head for head in self.heads if head.status == status)


def discover(
    catalog: Catalog,
    lock: Lock,
    names: Sequence[str] = (),
    *,
    endpoint: str | None = None,
    timeout_s: float = 60.0,
) -> tuple[SourceReport, ...]:
    """Look at sources of the catalog as they are now; nothing is written, no weights are fetched.

    Args:
        catalog: What is known.
        lock: What was recorded of it.
        names: Sources to look at; all on the Hub when there are none.
        endpoint: Where the Hub is; HF_ENDPOINT, or the public one, when None.
        timeout_s: Seconds without a byte after which a request is given up.

    Raises:
        UnknownNameError: No source is called so.
    """
    for name in names:
        if name not in catalog.sources:
            raise UnknownNameError(
                kind="source",
                name=name,
                suggestions=nearest(name, catalog.sources),
                next_step=f"The catalog's sources are {', '.join(catalog.sources) or 'none'}.",
            )
    chosen = list(dict.fromkeys(names)) or [
        name for name, source in catalog.sources.items() if source.hub is not None
    ]
    reports: list[SourceReport] = []
    with _Look(catalog, lock, endpoint=endpoint, timeout_s=timeout_s) as look:
        for name in chosen:
            source = catalog.sources[name]
            try:
                reports.append(look.at(name, source))
            except SpecregError as error:
                reports.append(SourceReport(source=name, where=_where(source), problem=error))
                if isinstance(error, HubError) and error.reason in HOPELESS:
                    look.hopeless = error
    return tuple(reports)


class _Look:
    """Looks at one source after the other, with the Hub opened at the first need."""

    def __init__(self, catalog: Catalog, lock: Lock, *, endpoint: str | None, timeout_s: float) -> None:
        self._catalog = catalog
        self._lock = lock
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._stack = ExitStack()
        self._hub: Hub | None = None
        self.hopeless: HubError | None = None

    def __enter__(self) -> _Look:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def at(self, name: str, source: Source) -> SourceReport:
        heads = [head for head in self._catalog.heads if head.from_ == name]
        if source.hub is None:
            return self._in_folder(name, source, heads)
        if self.hopeless is not None:
            raise self.hopeless
        for head in heads:  # proves that repository, revision and folder are what they should be
            head_place(self._catalog, head)
        return self._on_hub(self._opened(), name, source, heads)

    def _opened(self) -> Hub:
        if self._hub is None:
            window = asked_hub(endpoint=self._endpoint, timeout_s=self._timeout_s)
            self._hub = self._stack.enter_context(window)
        return self._hub

    def _on_hub(self, hub: Hub, name: str, source: Source, heads: Sequence[Head]) -> SourceReport:
        repo = source.hub or ""
        commit = hub.commit_of(repo, source.revision or DEFAULT_REVISION)
        collection = hub_collection(hub, repo, commit)
        pinned = {entry.commit for head in heads if (entry := self._lock.heads.get(head.name)) is not None}
        sides = {old: _listing(hub, repo, old) for old in pinned if old is not None and old != commit}
        sides[commit] = _by_folder(file for file in collection.listed.values() if file is not None)
        stands = [self._standing(hub, repo, commit, head, sides) for head in heads]
        return SourceReport(
            source=name,
            where=repo,
            commit=commit,
            heads=(*stands, *_new(collection, heads, self._catalog)),
            odd=collection.odd,
        )

    def _standing(
        self, hub: Hub, repo: str, commit: str, head: Head, sides: Mapping[str, Side | None]
    ) -> Discovery:
        """How a head of the catalog stands; what the whole listing lacks is asked for once more by its folder."""
        folder, now = head.folder, (sides[commit] or {}).get(head.folder, {})
        entry = self._lock.heads.get(head.name)
        before = None if entry is None else sides.get(entry.commit or "")
        then = None if before is None else before.get(folder, {})
        if not _is_head(now) or _differs(now, entry, commit, then):
            now = hub.files_by_name(repo, commit, folder)
        if not _is_head(now):
            return Discovery(head=head.name, folder=folder, status="gone")
        if entry is None:
            return Discovery(head=head.name, folder=folder, status="unrecorded")
        files = _differs(now, entry, commit, then)
        return Discovery(
            head=head.name,
            folder=folder,
            status="changed" if files else "same",
            files=tuple(map(shown_name, files)),
        )

    def _in_folder(self, name: str, source: Source, heads: Sequence[Head]) -> SourceReport:
        root = _folder_of(source)
        collection = folder_collection(root) if root is not None else None
        stands = []
        for head in heads:
            folder = head_place(self._catalog, head).folder
            entry = self._lock.heads.get(head.name)
            files: list[str] = []
            status: Status = "gone" if folder is None else "unrecorded" if entry is None else "same"
            if folder is not None and entry is not None:
                files = _other_records(entry.files, _recorded(folder))
                status = "changed" if files else "same"
            stands.append(
                Discovery(
                    head=head.name, folder=head.folder, status=status, files=tuple(map(shown_name, files))
                )
            )
        new = _new(collection, heads, self._catalog) if collection is not None else ()
        return SourceReport(
            source=name,
            where=_where(source) if root is None else str(root),
            heads=(*stands, *new),
            odd=collection.odd if collection is not None else (),
        )


def _new(collection: Collection, heads: Iterable[Head], catalog: Catalog) -> tuple[Discovery, ...]:
    """The heads of a collection that none of these is; 'taken' where the catalog calls another source's so."""
    known = {head.folder for head in heads}
    names = {head_key(head) for head in catalog.heads}
    return tuple(
        Discovery(
            head=one.folder,
            folder=one.folder,
            status="taken" if (one.source, one.target, fold(one.run)) in names else "new",
        )
        for one in collection.heads
        if one.folder not in known
    )


def _listing(hub: Hub, repo: str, commit: str) -> Side | None:
    """What a repository held at a commit; None where that is no longer there."""
    try:
        return _by_folder(hub.files_under(repo, commit))
    except HubError as error:
        if error.reason in ("revision", "file"):
            return None
        raise


def _by_folder(listed: Iterable[RemoteFile]) -> Side:
    found: Side = {}
    for file in listed:
        folder, _, name = file.name.rpartition("/")
        found.setdefault(folder, {})[name] = file
    return found


def _is_head(files: Mapping[str, RemoteFile]) -> bool:
    return CONFIG in files and bool(files.keys() & {WEIGHTS, PICKLE})


def _differs(
    now: Mapping[str, RemoteFile],
    entry: LockEntry | None,
    commit: str,
    then: Mapping[str, RemoteFile] | None,
) -> list[str]:
    """Files that are other than recorded: by the listing of the recorded commit, else by what the lock tells."""
    if entry is None:
        return []
    if entry.commit == commit:
        return sorted(entry.files.keys() - now.keys())  # a page of the listing was lost
    if then is not None:
        names = then.keys() | now.keys()
        return sorted(name for name in names if _bytes_of(then.get(name)) != _bytes_of(now.get(name)))
    return sorted(name for name, record in entry.files.items() if not _may_be(now.get(name), record))


def _bytes_of(file: RemoteFile | None) -> object:
    """What the listing tells of a file's bytes."""
    return None if file is None else (file.size_bytes, file.sha256, file.git_sha1)


def _may_be(file: RemoteFile | None, record: FileRecord) -> bool:
    """Whether a listed file can be the recorded one; of small files the listing tells no sha256."""
    return file is not None and file.size_bytes == record.size_bytes and file.sha256 in (None, record.sha256)


def _recorded(folder: Path) -> Mapping[str, FileRecord]:
    try:
        return lock_folder(folder).files
    except CheckpointError:  # what cannot be recorded is other than what was
        return {}


def _other_records(before: Mapping[str, FileRecord], now: Mapping[str, FileRecord]) -> list[str]:
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def _folder_of(source: Source) -> Path | None:
    """The folder of a source outside the Hub, if it is here."""
    head = Head.model_construct(source="-", target="-", run="-", from_="it", path=".")
    return head_place(Catalog.model_construct(sources={"it": source}), head).folder


def _where(source: Source) -> str:
    return source.hub or "/".join(part for part in (source.package, source.path) if part)
