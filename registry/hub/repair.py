"""Mend what verification found at fault: fetch it again, and take away the blob that stays bad.

Only the Hub's cache is mended, and of that only blobs are ever deleted: such whose bytes are not those that
their own name promises. What lies in a folder of the user's, or in a Python package, is told with what to do.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from registry.command import command
from registry.errors import CheckpointError, HubError, SpecregError
from registry.files.folder import CHUNK_BYTES, CheckpointFolder
from registry.hub.download import download
from registry.places import Place, hub_cache
from registry.records import Head, Model, Record
from registry.report import HeadReport, ModelReport, report_json
from registry.suggested import beyond_fetching

if TYPE_CHECKING:
    from registry.shelf import Shelf

_Report = TypeVar("_Report", HeadReport, ModelReport)

ABOUT_ALL: Final = ("offline", "unreachable", "timeout", "disk")
"""Why the Hub could not be asked, where the next checkpoint would fare no better."""


class Repair(Record):
    """What was done about one checkpoint at fault. `before` and `after` are its faults, one line each."""

    name: str
    kind: Literal["head", "model"]
    repaired: bool
    before: tuple[str, ...]
    after: tuple[str, ...]
    detail: str


@dataclass(frozen=True, kw_only=True)
class RepairReport:
    """How things were and how they are now. `error` says why the Hub could not be asked, if it could not."""

    heads_before: tuple[HeadReport, ...]
    models_before: tuple[ModelReport, ...]
    heads: tuple[HeadReport, ...]
    models: tuple[ModelReport, ...]
    repairs: tuple[Repair, ...]
    error: HubError | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is at fault now."""
        return all(report.ok for report in (*self.heads, *self.models))

    def to_json(self) -> dict[str, Any]:
        """The document of `specreg verify --repair --json`: how things are, what was done, how they were."""
        return {
            **report_json(self.heads, self.models),
            "repaired": [repair.model_dump(mode="json") for repair in self.repairs],
            "before": report_json(self.heads_before, self.models_before),
        }


def repair(
    shelf: Shelf,
    heads: Sequence[Head],
    models: Sequence[Model] = (),
    *,
    timeout_s: float = 60.0,
    bars: bool = True,
    endpoint: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> RepairReport:
    """Verify, fetch again what is at fault, and verify that once more. What is sound is left alone.

    Args:
        shelf: Holds the catalog and its locks.
        heads, models: What to look at, all of it on this machine.
        timeout_s, bars, endpoint, environ: As for `download`.

    Raises:
        NotInstalledError: a checkpoint is not on this machine.
    """
    fetch = partial(download, shelf, timeout_s=timeout_s, bars=bars, endpoint=endpoint, environ=environ)
    heads_before = tuple(shelf.verify_head(head) for head in heads)
    models_before = tuple(shelf.verify_model(model) for model in models)
    work = _Work(shelf)
    heads_now = tuple(
        work.mended(
            "head", report, shelf.head_place(head), partial(fetch, [head]), partial(shelf.verify_head, head)
        )
        for head, report in zip(heads, heads_before, strict=True)
    )
    models_now = tuple(
        work.mended(
            "model",
            report,
            shelf.model_place(model),
            partial(fetch, [], [model]),
            partial(shelf.verify_model, model),
        )
        for model, report in zip(models, models_before, strict=True)
    )
    return RepairReport(
        heads_before=heads_before,
        models_before=models_before,
        heads=heads_now,
        models=models_now,
        repairs=tuple(work.repairs),
        error=work.error,
    )


class _Work:
    """Mends one checkpoint after the other, and remembers what it did."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self.repairs: list[Repair] = []
        self.error: HubError | None = None

    def mended(
        self,
        kind: Literal["head", "model"],
        before: _Report,
        place: Place,
        fetch: Callable[[], object],
        verify: Callable[[], _Report],
    ) -> _Report:
        """The report on a checkpoint after what could be done for it was done."""
        if before.ok:
            return before
        detail = _beyond_repair(before, place, self._shelf)
        after: _Report = before
        if not detail:
            detail = self._fetch(fetch, place, before)
            after = verify()
        done = Repair(
            name=before.name,
            kind=kind,
            repaired=after.ok,
            before=before.faults,
            after=after.faults,
            detail=detail if after.ok else "; ".join([detail, *_left(after, place)]),
        )
        self.repairs.append(done)
        return after

    def _fetch(self, fetch: Callable[[], object], place: Place, report: HeadReport | ModelReport) -> str:
        """Fetch again; what came of it. A blob that stays bad is deleted, unless the Hub could not be asked."""
        if self.error is not None and self.error.reason in ABOUT_ALL:
            return str(self.error)
        try:
            fetch()
        except HubError as error:
            self.error = self.error or error
            return f"{error} Nothing was deleted"
        except SpecregError as error:
            return "; ".join([str(error), *_delete_bad_blobs(place, report)])
        self._shelf.reload()
        names = ", ".join(file.path for file in report.files if file.fault and file.status != "extra")
        return f"fetched again: {names}"


def _beyond_repair(report: HeadReport | ModelReport, place: Place, shelf: Shelf) -> str:
    """Why fetching again would not help, and what would; empty where it may."""
    if place.kind != "hub":
        return beyond_fetching(place, catalogs=shelf.given)
    recorded = any(one.check == "record" and one.status == "pass" for one in report.findings)
    if not recorded and any(file.fault and file.status != "extra" for file in report.files):
        return ""
    if not recorded and any(file.fault for file in report.files):
        return "nothing to fetch again"
    same = "its files are as recorded, so that the same would come again"
    if isinstance(report, ModelReport):
        return f"{same}: report it, or correct the catalog"
    source = next(head.from_ for head in shelf.catalog.heads if head.name == report.head)
    step = command("discover", source, catalogs=shelf.given)
    return (
        f"{same}: `{step}` tells whether the Hub holds others now, and how to take them in; if not, report it"
    )


def _left(report: HeadReport | ModelReport, place: Place) -> list[str]:
    """What is to be done by hand."""
    extra = [file.path for file in report.files if file.fault and file.status == "extra"]
    if not extra or place.kind != "hub":
        return []
    return [f"files that do not belong there are never deleted: remove {', '.join(extra)} in {place.folder}"]


def _delete_bad_blobs(place: Place, report: HeadReport | ModelReport) -> list[str]:
    """Take bad blobs out of the Hub's cache; says which."""
    told = []
    for file in report.files:
        blob = _blob(place, file.path) if file.fault and file.status != "extra" else None
        if blob is not None and _delete_if_bad(blob):
            told.append(f"the bad blob of {file.path} was deleted")
    return told


def _blob(place: Place, name: str) -> Path | None:
    """The blob of the Hub's cache that a file of a snapshot leads to; None where it leads elsewhere."""
    if place.folder is None:
        return None
    link = place.folder / name
    try:
        real = Path(os.path.realpath(link, strict=True))
        blobs = Path(os.path.realpath(link.parent, strict=True))
    except OSError:
        return None
    cache = Path(os.path.realpath(hub_cache()))
    store = next((parent for parent in blobs.parents if parent.parent == cache), None)
    return real if store is not None and real.parent == store / "blobs" and link.is_symlink() else None


def _delete_if_bad(blob: Path) -> bool:
    """Delete a blob whose bytes are not what its name promises, while no client of the Hub works on it."""
    from registry.hub.turns import held  # noqa: PLC0415 - loaded by then: fetching came first

    lock = blob.parent.parent.parent / ".locks" / blob.parent.parent.name / f"{blob.name}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with held(lock):
            bad = not _is_true_to_name(blob)
            if bad:
                blob.unlink()
            return bad
    except OSError:  # gone already, not ours to delete, or in another's hands
        return False


def _is_true_to_name(blob: Path) -> bool:
    """Blobs are called by the sha256 of their bytes, or by git's sha1."""
    try:
        with CheckpointFolder(blob.parent).open(blob.name) as file:
            git = hashlib.sha1(f"blob {file.size_bytes}\0".encode(), usedforsecurity=False)
            while chunk := file.take(CHUNK_BYTES):
                git.update(chunk)
            return blob.name in (file.sha256(), git.hexdigest())
    except CheckpointError:
        return False
