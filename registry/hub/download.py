"""Bring heads and models here: decide what is missing, fetch that, check every byte, record it.

A checkpoint is fetched at one commit, by exact file names. Its files are held against its record; what has no
record yet is held against the Hub's own digests, and then recorded under SPECREG_HOME. A checkpoint's files
are linked into its snapshot when all of them are right, and not before. What is here and as recorded is left
alone, without a request. Importing this loads no network library.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from registry.errors import HubError, SpecregError
from registry.files.wholefile import put_whole
from registry.home import downloaded_lock_path
from registry.hub.downloaded import remember
from registry.hub.fetching import writing
from registry.hub.installing import Installation, forget_staged, present
from registry.hub.orders import Order, Wanted, head_order, is_pickled, model_order
from registry.hub.outcome import DownloadReport, FileOutcome, FileStatus, Meter, Outcome, Progress
from registry.hub.stamps import Digests, Stamps
from registry.lock import read_downloaded
from registry.places import hub_cache
from registry.records import FileRecord, Head, LockEntry, Model

if TYPE_CHECKING:
    from registry.hub.client import Hub
    from registry.shelf import Shelf

__all__ = ["DownloadReport", "FileOutcome", "Outcome", "download"]

CHECKPOINTS_AT_ONCE: Final = 8
FILES_AT_ONCE: Final = 8
HOPELESS: Final = frozenset({"offline", "unreachable", "timeout", "token", "unsendable", "disk", "stopped"})


def download(
    shelf: Shelf,
    heads: Sequence[Head],
    models: Sequence[Model] = (),
    *,
    dry_run: bool = False,
    quick: bool = False,
    timeout_s: float = 60.0,
    progress: Progress | None = None,
    meter: Meter | None = None,
    bars: bool = True,
    endpoint: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> DownloadReport:
    """Fetch what is missing or not as recorded, and check it. Checkpoints outside the Hub have to be there.

    Several checkpoints and files come at once. Where one fails the others go on, unless there is no hope for
    them either; the first failure is raised when all are done, and names the others.

    Args:
        shelf: Holds the catalog and its locks.
        heads, models: What to bring here; each once.
        dry_run: Only say what would be fetched; nothing is written.
        quick: Know what is here by the stamp of an earlier hash (see `registry.hub.stamps`), where it has one.
        timeout_s: Seconds without a byte after which a question is given up, waits and retries included.
        progress: Told of every file as it is done.
        meter: Told of the bytes as they come, in place of the client's bars.
        bars: Whether the Hub's client may show its bars, which it does on a terminal only.
        endpoint: Where the Hub is; HF_ENDPOINT, or the public one, when None.
        environ: Where SPECREG_HOME is looked up; the process's environment when None.

    Raises:
        HubError: The Hub could not be asked.
        CheckpointError: A file that came is not what its record or the Hub's listing says, or the listing
            lacks what such a checkpoint must have. Of that checkpoint nothing new is left in place.
        NotInstalledError: A checkpoint outside the Hub is not there.
        CatalogError: A source that cannot be one, or a record that cannot be read.
        UsageError: The record cannot be written.
    """
    record_path = downloaded_lock_path(environ)
    earlier = read_downloaded(record_path)
    orders = [head_order(shelf, head, earlier) for head in dict.fromkeys(heads)]
    orders += [model_order(shelf, one, earlier) for one in {model.alias: model for model in models}.values()]
    with _Window(timeout_s=timeout_s, bars=bars, endpoint=endpoint) as window:
        work = _Work(
            window=window,
            record_path=record_path,
            stamps=Stamps(record_path.with_name("stamps"), keep=not dry_run, trust=quick),
            progress=progress or (lambda *_: None),
            meter=meter,
            dry_run=dry_run,
        )
        outcomes = work.carry_out_all(orders)
    return DownloadReport(
        dry_run=dry_run,
        heads=tuple(outcome for outcome in outcomes if outcome.kind == "head"),
        models=tuple(outcome for outcome in outcomes if outcome.kind == "model"),
    )


class _Window:
    """The Hub, opened at the first need and not before."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._stack = ExitStack()
        self._opening = threading.Lock()
        self._hub: Hub | None = None

    def __enter__(self) -> _Window:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def hub(self) -> Hub:
        with self._opening:
            if self._hub is None:
                from registry.hub.client import Hub  # noqa: PLC0415 - half a second; a second download needs none

                self._hub = self._stack.enter_context(Hub(cache=hub_cache(), **self._settings))
            return self._hub

    def stop(self) -> None:
        if self._hub is not None:
            self._hub.stop()


@dataclass(kw_only=True)
class _Work:
    """Carries out orders: decides by looking, then acts."""

    window: _Window
    record_path: Path
    stamps: Stamps
    progress: Progress
    meter: Meter | None
    dry_run: bool

    def __post_init__(self) -> None:
        self._telling = threading.Lock()
        self._commits: dict[tuple[str, str], Future[str]] = {}  # one repository is asked once
        self._pool: Executor

    def carry_out_all(self, orders: Sequence[Order]) -> list[Outcome]:
        """All at once, as far as that goes; the first failure is raised at the end."""
        with ThreadPoolExecutor(FILES_AT_ONCE) as self._pool, ThreadPoolExecutor(CHECKPOINTS_AT_ONCE) as pool:
            futures = [pool.submit(self._carry_out, order) for order in orders]
            try:
                for future in futures:
                    if _is_hopeless(future.exception()):
                        break
            except BaseException:
                self.window.stop()
                raise
            finally:
                for future in futures:
                    future.cancel()
            wait(futures)
        undone = [
            (order.name, None if future.cancelled() else future.exception())
            for order, future in zip(orders, futures, strict=True)
            if future.cancelled() or future.exception() is not None
        ]
        if undone:
            raise _with_others(undone)
        return [future.result() for future in futures]

    def _carry_out(self, order: Order) -> Outcome:
        if order.repo is None:
            there = str(order.place.installed(order.name))
            return Outcome(kind=order.kind, name=order.name, source=order.place.kind, folder=there)
        commit = self._commit(order)
        files = order.recorded_files(commit)
        if files is None:
            files = order.listed_files(self.window.hub, commit)
        outcome = Outcome(
            kind=order.kind,
            name=order.name,
            source="hub",
            revision=order.revision,
            commit=commit,
            folder=str(order.folder(commit)),
            pickled=is_pickled(order.kind, {file.name for file in files}),
            checked_against=order.yardstick,
            recorded_in=str(self.record_path) if order.unlocked else None,
        )
        here = present(order.folder(commit), files, self.stamps)
        done: dict[str, FileOutcome] = {}

        def told(file: Wanted, status: FileStatus) -> None:
            done[file.name] = self._told(outcome, file, status)

        if self.dry_run or len(here) == len(files):
            for file in files:
                told(file, "here" if file.name in here else "would fetch")
            if not self.dry_run:
                forget_staged(order, commit)
        else:
            here = Installation(
                hub=self.window.hub,
                order=order,
                commit=commit,
                files=files,
                stamps=self.stamps,
                pool=self._pool,
                meter=self.meter,
            ).run(told)
        if not self.dry_run:
            self._remember(order, commit, here)
        return outcome.model_copy(update={"files": tuple(done[file.name] for file in files)})

    def _commit(self, order: Order) -> str:
        """The commit to have: the one that is pinned, or is here and as recorded, or the branch's of now."""
        if order.pinned is not None:
            return order.pinned
        found = order.place.commit
        files = order.recorded_files(found) if found is not None else None
        if (
            found is not None
            and files
            and len(present(order.folder(found), files, self.stamps)) == len(files)
        ):
            return found
        key = order.repo or "", order.revision
        with self._telling:
            mine = key not in self._commits
            commit = self._commits.setdefault(key, Future())
        if mine:
            try:
                commit.set_result(self.window.hub.commit_of(*key))
            except BaseException as error:
                commit.set_exception(error)
        return commit.result()

    def _remember(self, order: Order, commit: str, here: Mapping[str, Digests]) -> None:
        """Let it be found again: by a record of ours, or, where a catalog's tells no commit, by the branch."""
        records = {
            name: FileRecord(size_bytes=one.size_bytes, sha256=one.sha256)
            for name, one in sorted(here.items())
        }
        entry = LockEntry(commit=commit, files=records)
        if order.unlocked and entry != order.entry:
            remember(self.record_path, order, entry)
        elif order.pinned is None and order.place.commit != commit:
            ref = order.store / "refs" / order.revision  # what the client writes when it asks for a branch
            with writing(self.window.hub, order, ""):
                ref.parent.mkdir(parents=True, exist_ok=True)
                put_whole(commit.encode(), ref)

    def _told(self, outcome: Outcome, file: Wanted, status: FileStatus) -> FileOutcome:
        told = FileOutcome(path=file.name, size_bytes=file.size_bytes, status=status, commit=outcome.commit)
        with self._telling:
            self.progress(outcome, told)
        return told


def _is_hopeless(error: BaseException | None) -> bool:
    return isinstance(error, HubError) and error.reason in HOPELESS


def _with_others(undone: Sequence[tuple[str, BaseException | None]]) -> BaseException:
    """The first failure; its sentence names what else is not here. What was not begun has none of its own."""
    first = next(error for _, error in undone if error is not None)
    others = [name for name, _ in undone[1:]]
    if others and isinstance(first, SpecregError):
        names = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        first.args = (f"{first} Not downloaded either: {names}.", *first.args[1:])
    return first
