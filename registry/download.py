"""Bring heads and models here: decide what is missing, fetch that, check every byte, record it.

A checkpoint is fetched at one commit, by exact file names. Its files are held against its record; what has no
record yet is held against the Hub's own digests, and then recorded under SPECREG_HOME. What is here and as
recorded is left alone, without a request. Importing this loads no network library.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from registry.errors import CheckpointError, HubError, UsageError
from registry.folder import CHUNK_BYTES, CheckpointFolder
from registry.headsight import CONFIG, PICKLE, WEIGHTS
from registry.home import downloaded_lock_path
from registry.lock import Lock, read_lock, write_lock
from registry.manifest import PICKLE_SUFFIXES
from registry.modelcheck import INDEX
from registry.places import DEFAULT_REVISION, Place, head_place, hub_cache, model_place
from registry.records import FileRecord, Head, LockEntry, Model, Record, Source

if TYPE_CHECKING:
    from registry.hub import Hub, RemoteFile
    from registry.shelf import Shelf

HEAD_EXTRAS: Final = ("trainer_state.json", "README.md")
MODEL_FILES: Final = (
    *(CONFIG, "generation_config.json", "tokenizer_config.json", "tokenizer.json", "tokenizer.model"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt"),
    *("chat_template.json", "chat_template.jinja", "LICENSE"),
)
PICKLE_INDEX: Final = f"{PICKLE}.index.json"

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHARD = re.compile(r"(model(?:\.safetensors)?|pytorch_model)-(\d{5})-of-(\d{5})(\.safetensors|\.bin)")


class FileOutcome(Record):
    """One file: its name in the checkpoint, and what was done, or would be."""

    path: str
    size_bytes: int
    status: Literal["fetched", "here", "would fetch"]
    commit: str | None


class Outcome(Record):
    """One checkpoint. `folder` is where it is; `files` is empty where there was nothing to download."""

    kind: Literal["head", "model"]
    name: str
    source: Literal["hub", "package", "folder"]
    revision: str | None = None
    commit: str | None = None
    folder: str
    pickled: bool = False
    files: tuple[FileOutcome, ...] = ()


class DownloadReport(Record):
    """What a download did or, when dry, would do."""

    dry_run: bool
    heads: tuple[Outcome, ...]
    models: tuple[Outcome, ...]

    @property
    def files(self) -> tuple[FileOutcome, ...]:
        """Every file of every checkpoint."""
        return tuple(file for outcome in (*self.heads, *self.models) for file in outcome.files)

    @property
    def moved_bytes(self) -> int:
        """Bytes that were fetched or would be."""
        return sum(file.size_bytes for file in self.files if file.status != "here")

    def to_json(self) -> dict[str, Any]:
        """The document of `specreg download --json`."""
        return {**self.model_dump(mode="json"), "bytes": self.moved_bytes}


Progress = Callable[[Outcome, FileOutcome], None]
"""Called when a file is done, with its checkpoint, whose `files` are still empty."""


def download(
    shelf: Shelf,
    heads: Sequence[Head],
    models: Sequence[Model] = (),
    *,
    dry_run: bool = False,
    timeout_s: float = 60.0,
    progress: Progress | None = None,
    bars: bool = True,
    endpoint: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> DownloadReport:
    """Fetch what is missing or not as recorded, and check it. Checkpoints outside the Hub have to be there.

    Args:
        shelf: Holds the catalog and its locks.
        heads, models: What to bring here; each once.
        dry_run: Only say what would be fetched; nothing is written.
        timeout_s: Seconds without a byte after which a request is given up.
        progress: Told of every file as it is done.
        bars: Whether the Hub's client may show its bars, which it does on a terminal only.
        endpoint: Where the Hub is; HF_ENDPOINT, or the public one, when None.
        environ: Where SPECREG_HOME is looked up; the process's environment when None.

    Raises:
        HubError: The Hub could not be asked.
        CheckpointError: A file that came is not what its record or the Hub's listing says, or the listing
            lacks what such a checkpoint must have. What was fetched of that checkpoint is not left in place.
        NotInstalledError: A checkpoint outside the Hub is not there.
        CatalogError: A source that cannot be one, or a record that cannot be read.
    """
    record_path = downloaded_lock_path(environ)
    earlier = read_lock(record_path)
    wanted = [_head_order(shelf, head, earlier) for head in dict.fromkeys(heads)]
    wanted += [
        _model_order(shelf, model, earlier) for model in {model.alias: model for model in models}.values()
    ]
    with _Window(timeout_s=timeout_s, bars=bars, endpoint=endpoint) as window:
        work = _Work(window, record_path, progress or (lambda *_: None), dry_run)
        outcomes = [work.carry_out(order) for order in wanted]
    return DownloadReport(
        dry_run=dry_run,
        heads=tuple(outcome for outcome in outcomes if outcome.kind == "head"),
        models=tuple(outcome for outcome in outcomes if outcome.kind == "model"),
    )


@dataclass(frozen=True, kw_only=True)
class _Order:
    """A checkpoint to bring here, and what is known of it. `unlocked`: no catalog's lock holds its record."""

    kind: Literal["head", "model"]
    name: str
    repo: str | None
    revision: str
    inside: str
    place: Place
    entry: LockEntry | None
    unlocked: bool

    @property
    def pinned(self) -> str | None:
        if _COMMIT.fullmatch(self.revision):
            return self.revision
        return self.entry.commit if self.entry is not None else None

    def folder(self, commit: str) -> Path:
        store = hub_cache() / "--".join(["models", *(self.repo or "").split("/")])
        return store / "snapshots" / commit / self.inside

    def path(self, name: str) -> str:
        return f"{self.inside}/{name}" if self.inside else name


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """A file and what is known of its bytes."""

    name: str
    size_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None

    def difference(self, seen: _Seen) -> str:
        """How the bytes that were seen differ; empty when they do not."""
        if seen.record.size_bytes != self.size_bytes:
            return f"expected {self.size_bytes} bytes, got {seen.record.size_bytes}"
        if self.sha256 not in (None, seen.record.sha256):
            return f"expected sha256 {self.sha256}, got {seen.record.sha256}"
        if self.git_sha1 not in (None, seen.git_sha1):
            return f"expected git's sha1 {self.git_sha1}, got {seen.git_sha1}"
        return ""


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """The digests of a file's bytes as they are."""

    record: FileRecord
    git_sha1: str


class _Window:
    """The Hub, opened at the first need and not before."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._stack = ExitStack()
        self._hub: Hub | None = None

    def __enter__(self) -> _Window:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def hub(self) -> Hub:
        if self._hub is None:
            from registry.hub import Hub  # noqa: PLC0415 - half a second that a second download does without

            self._hub = self._stack.enter_context(Hub(cache=hub_cache(), **self._settings))
        return self._hub


class _Work:
    """Carries out orders: decides by looking, then acts."""

    def __init__(self, window: _Window, record_path: Path, progress: Progress, dry_run: bool) -> None:
        self._window = window
        self._record_path = record_path
        self._progress = progress
        self._dry_run = dry_run

    def carry_out(self, order: _Order) -> Outcome:
        if order.repo is None:
            there = str(order.place.installed(order.name))
            return Outcome(kind=order.kind, name=order.name, source=order.place.kind, folder=there)
        commit = order.pinned or self._window.hub.commit_of(order.repo, order.revision)
        files = self._files(order, commit)
        outcome = Outcome(
            kind=order.kind,
            name=order.name,
            source="hub",
            revision=order.revision,
            commit=commit,
            folder=str(order.folder(commit)),
            pickled=any(file.name.endswith(PICKLE_SUFFIXES) for file in files),
        )
        folder = CheckpointFolder(order.folder(commit))
        here = {file.name: _sound(folder, file) for file in files}
        if self._dry_run:
            done = [self._told(outcome, file, "here" if here[file.name] else "would fetch") for file in files]
        else:
            done = self._install(order, outcome, files, here)
        return outcome.model_copy(update={"files": tuple(done)})

    def _files(self, order: _Order, commit: str) -> list[_Wanted]:
        """The exact files to have, config.json and weights among them, sorted by name."""
        if order.entry is not None:
            records = sorted(order.entry.files.items())
            files = [
                _Wanted(name=name, size_bytes=one.size_bytes, sha256=one.sha256) for name, one in records
            ]
            _require_complete(order, commit, {file.name for file in files}, {file.name for file in files})
            return files
        hub, repo = self._window.hub, order.repo or ""
        listed = {file.name: file for file in hub.files_in(repo, commit, order.inside)}
        names = _chosen(order.kind, set(listed))
        _require_complete(order, commit, names, set(listed))
        if WEIGHTS not in listed and INDEX not in names:
            for name in (WEIGHTS, INDEX)[: 1 if order.kind == "head" else 2]:
                if hub.has(repo, commit, order.path(name)):  # a lost page must not turn a head into a pickle
                    raise _incomplete(order, commit, [name], set(listed))
        return [_wanted(listed[name]) for name in sorted(names)]

    def _install(
        self, order: _Order, outcome: Outcome, files: Iterable[_Wanted], here: Mapping[str, _Seen | None]
    ) -> list[FileOutcome]:
        """Fetch what is not here; all of it, or no link of it stays."""
        done: list[FileOutcome] = []
        records: dict[str, FileRecord] = {}
        links: list[Path] = []
        try:
            for file in files:
                seen = here[file.name]
                status: Literal["here", "fetched"] = "here" if seen is not None else "fetched"
                if seen is None:
                    link = Path(outcome.folder) / file.name
                    links += [] if os.path.lexists(link) else [link]
                    seen = _Fetch(self._window.hub, order, outcome.commit or "", file).run()
                records[file.name] = seen.record
                done.append(self._told(outcome, file, status))
        except BaseException:
            for link in links:
                with suppress(OSError):
                    if link.is_symlink():  # its bytes stay among the cache's blobs, for the next time
                        link.unlink()
            raise
        entry = LockEntry(commit=outcome.commit, files=records)
        if order.unlocked and entry != order.entry:
            self._record(order, entry)
        return done

    def _record(self, order: _Order, entry: LockEntry) -> None:
        from registry.hub import held  # noqa: PLC0415 - it was opened already

        path = self._record_path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with held(path.with_name(f"{path.name}.held")):
                lock = read_lock(path)
                with_entry = lock.with_head if order.kind == "head" else lock.with_model
                write_lock(with_entry(order.name, entry), path)
        except OSError as error:  # waiting too long for another process is one too
            reason = error.strerror or "another process holds it"
            raise UsageError(
                f"{order.name} is here, but {path} could not be written: {reason}. "
                "Mend that, or point SPECREG_HOME elsewhere, and download again."
            ) from error

    def _told(self, outcome: Outcome, file: _Wanted, status: Any) -> FileOutcome:
        told = FileOutcome(path=file.name, size_bytes=file.size_bytes, status=status, commit=outcome.commit)
        self._progress(outcome, told)
        return told


class _Fetch:
    """One file into the Hub's cache: fetched, hashed, fetched once more if need be, or not left there."""

    def __init__(self, hub: Hub, order: _Order, commit: str, file: _Wanted) -> None:
        self._hub = hub
        self._order = order
        self._commit = commit
        self._file = file
        self._folder = CheckpointFolder(order.folder(commit))
        self._link = order.folder(commit) / file.name

    def run(self) -> _Seen:
        repo, path = self._order.repo or "", self._order.path(self._file.name)
        before = _identity(self._link)
        etag = self._hub.etag_of(repo, self._commit, path)
        blob = hub_cache() / "--".join(["models", *repo.split("/")]) / "blobs" / etag
        try:
            for again in (False, True):
                # What is true to its own name is another file's, or would come again: never overwritten.
                keep = (again or before is not None) and _is_true_to_name(blob)
                if again and keep:
                    break
                if before is not None and os.path.realpath(self._link) != os.path.realpath(blob):
                    self._link.unlink(missing_ok=True)
                self._bring(repo, path, force=not keep and (again or before is not None))
                seen = _sound(self._folder, self._file)
                if seen is not None:
                    return seen
            raise self._differs(_problem(self._folder, self._file))
        except BaseException:
            if _identity(self._link) not in (None, before):
                self._discard(blob)
            raise

    def _bring(self, repo: str, path: str, *, force: bool) -> None:
        """Fetch; a transfer that broke off is begun once more."""
        try:
            self._hub.fetch(repo, self._commit, path, force=force)
        except HubError as error:
            if error.reason != "broken":
                raise
            self._hub.fetch(repo, self._commit, path, force=force)

    def _discard(self, blob: Path) -> None:
        """Take away what was fetched in vain: the link, and the blob unless it is another file's."""
        with suppress(OSError):  # a cache that cannot be written to: then nothing was written
            self._link.unlink(missing_ok=True)
            if not _is_true_to_name(blob):
                blob.unlink(missing_ok=True)

    def _differs(self, problem: str) -> CheckpointError:
        against = "its record" if self._order.entry is not None else "the Hub's own listing"
        report = "the record" if self._order.entry is not None else f"it to the owners of {self._order.repo}"
        return CheckpointError(
            f"{self._file.name} of {self._order.name} differs from {against}: {problem}. "
            f"It was not installed. Download it again, or report {report} if this repeats.",
            path=str(self._link),
            problems=[problem],
        )


def _head_order(shelf: Shelf, head: Head, earlier: Lock) -> _Order:
    source = shelf.catalog.sources[head.from_]
    entries = shelf.lock.heads.get(head.name), earlier.heads.get(head.name)
    look = partial(head_place, shelf.catalog, head)
    return _order("head", head.name, source, inside=head.folder, entries=entries, look=look)


def _model_order(shelf: Shelf, model: Model, earlier: Lock) -> _Order:
    entries = shelf.lock.models.get(model.alias), earlier.models.get(model.alias)
    return _order("model", model.alias, model, inside="", entries=entries, look=partial(model_place, model))


def _order(
    kind: Literal["head", "model"],
    name: str,
    source: Source | Model,
    *,
    inside: str,
    entries: tuple[LockEntry | None, LockEntry | None],
    look: Callable[..., Place],
) -> _Order:
    """Looking up the place also proves that repo, revision and folder are what they should be."""
    revision = source.revision or DEFAULT_REVISION
    entry, unlocked = _entry(*entries, revision)
    return _Order(
        kind=kind,
        name=name,
        repo=source.hub,
        revision=revision,
        inside=inside,
        place=look(commit=entry.commit if entry else None),
        entry=entry,
        unlocked=unlocked,
    )


def _entry(
    on_shelf: LockEntry | None, earlier: LockEntry | None, revision: str
) -> tuple[LockEntry | None, bool]:
    """The record to go by, and whether it is (or will be) one of ours, not a catalog's."""
    if on_shelf is not None and on_shelf != earlier:
        return on_shelf, False
    if earlier is not None and _COMMIT.fullmatch(revision) and earlier.commit != revision:
        return None, True  # the catalog has since pinned another commit
    return earlier, True


def _chosen(kind: str, listed: set[str]) -> set[str]:
    """Of the listed files those to fetch: an allow-list, so that a listing chooses no name of its own."""
    plain = {CONFIG, *HEAD_EXTRAS} if kind == "head" else set(MODEL_FILES)
    shards = {name for name in listed if kind == "model" and _SHARD.fullmatch(name)}
    pickles = {name for name in shards if name.endswith(".bin")}
    forms: list[set[str]] = [{WEIGHTS}, shards - pickles, {PICKLE}, pickles]  # the first that is there
    weights: set[str] = next((form for form in forms if form & listed), set())
    if weights & shards:
        weights = {*weights, PICKLE_INDEX if weights & pickles else INDEX}
    return (plain | weights) & listed


def _require_complete(order: _Order, commit: str, names: set[str], listed: set[str]) -> None:
    """config.json, and weights: one file, or every shard and the index."""
    lacking = [] if CONFIG in names else [CONFIG]
    found = [shard for name in sorted(names) if (shard := _SHARD.fullmatch(name))]
    for shard in found[:1] if order.kind == "model" else ():
        stem, _, count, suffix = shard.groups()
        every = {f"{stem}-{number:05}-of-{count}{suffix}" for number in range(1, int(count) + 1)}
        lacking += sorted(({INDEX if suffix != ".bin" else PICKLE_INDEX} | every) - names)
    if not names & {WEIGHTS, PICKLE} and not found:
        lacking.append(WEIGHTS)
    if lacking:
        raise _incomplete(order, commit, lacking, listed)


def _incomplete(order: _Order, commit: str, lacking: list[str], listed: set[str]) -> CheckpointError:
    teller = (
        f"The record of {order.name}" if order.entry is not None else f"The Hub's listing of {order.name}"
    )
    got = ", ".join(sorted(listed)[:8]) or "nothing"
    return CheckpointError(
        f"{teller} at {commit} is incomplete: expected {', '.join(lacking[:4])} too, got {got}. Nothing was "
        "installed. Try again; if this repeats, check its source and path in the catalog.",
        path=order.path(lacking[0]),
        problems=[f"{name} is not listed" for name in lacking],
    )


def _wanted(file: RemoteFile) -> _Wanted:
    return _Wanted(name=file.name, size_bytes=file.size_bytes, sha256=file.sha256, git_sha1=file.git_sha1)


def _see(folder: CheckpointFolder, name: str) -> _Seen:
    with folder.open(name) as file:
        size = file.size_bytes
        git = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
        while chunk := file.take(CHUNK_BYTES):
            git.update(chunk)
        return _Seen(record=FileRecord(size_bytes=size, sha256=file.sha256()), git_sha1=git.hexdigest())


def _sound(folder: CheckpointFolder, file: _Wanted) -> _Seen | None:
    """The file's digests, if it is here and as it should be."""
    try:
        seen = _see(folder, file.name)
    except (OSError, CheckpointError):
        return None
    return None if file.difference(seen) else seen


def _problem(folder: CheckpointFolder, file: _Wanted) -> str:
    try:
        return file.difference(_see(folder, file.name))
    except (OSError, CheckpointError) as error:
        return str(error)


def _is_true_to_name(blob: Path) -> bool:
    """Whether a blob of the cache holds the bytes whose digest is its name."""
    try:
        seen = _see(CheckpointFolder(blob.parent), blob.name)
    except (OSError, CheckpointError):
        return False
    return blob.name in (seen.record.sha256, seen.git_sha1)


def _identity(link: Path) -> tuple[object, ...] | None:
    """Which bytes a name leads to; None where it leads to none."""
    try:
        status = link.stat()
    except OSError:
        return None
    return os.path.realpath(link), status.st_ino, status.st_mtime_ns, status.st_size
