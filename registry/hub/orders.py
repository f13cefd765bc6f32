"""An order: one checkpoint to bring here, what is known of it, and the exact files it is made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from registry.errors import CatalogError, CatalogFault, CheckpointError
from registry.files.filenames import (
    CALIBRATION,
    CARD,
    CONFIG,
    EVALUATION,
    INDEX,
    PICKLE,
    PICKLE_INDEX,
    TRAINER_STATE,
    WEIGHTS,
)
from registry.files.folder import is_safe_name
from registry.hub.outcome import Yardstick
from registry.hub.stamps import Digests
from registry.lock import Lock
from registry.places import DEFAULT_REVISION, Place, head_place, hub_cache, model_place
from registry.records import Head, LockEntry, Model, Source

if TYPE_CHECKING:
    from registry.hub.client import Hub
    from registry.shelf import Shelf

HEAD_EXTRAS: Final = (TRAINER_STATE, EVALUATION, CALIBRATION, CARD)
MODEL_FILES: Final = (
    *(CONFIG, "generation_config.json", "tokenizer_config.json", "tokenizer.json", "tokenizer.model"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt"),
    *("chat_template.json", "chat_template.jinja", "LICENSE"),
)

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHARD = re.compile(r"(model(?:\.safetensors)?|pytorch_model)-(\d{5})-of-(\d{5})(\.safetensors|\.bin)")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file of a checkpoint and what is known of its bytes."""

    name: str
    size_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None

    def difference(self, found: Digests) -> str:
        """How the bytes that were found differ; empty when they do not."""
        if found.size_bytes != self.size_bytes:
            return f"expected {self.size_bytes} bytes, got {found.size_bytes}"
        if self.sha256 not in (None, found.sha256):
            return f"expected sha256 {self.sha256}, got {found.sha256}"
        if self.git_sha1 not in (None, found.git_sha1):
            return f"expected git's sha1 {self.git_sha1}, got {found.git_sha1}"
        return ""


@dataclass(frozen=True, kw_only=True)
class Order:
    """A checkpoint to bring here. `unlocked`: no catalog's lock holds its record, so that we keep one.

    `repo` is None outside the Hub, and `inside` is the checkpoint's folder in the repository.
    """

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
        """The commit to fetch at, where catalog or record tell it."""
        if _COMMIT.fullmatch(self.revision):
            return self.revision
        return self.entry.commit if self.entry is not None else None

    @property
    def yardstick(self) -> Yardstick:
        """What its bytes are held against."""
        if not self.unlocked:
            return "lock"
        return "hub" if self.entry is None else "downloaded.lock"

    @property
    def store(self) -> Path:
        """The repository's folder in the Hub's cache."""
        return hub_cache() / "--".join(["models", *(self.repo or "").split("/")])

    def folder(self, commit: str) -> Path:
        """Where the checkpoint is to be."""
        return self.store / "snapshots" / commit / self.inside

    def path(self, name: str) -> str:
        """A file's name in the repository."""
        return f"{self.inside}/{name}" if self.inside else name

    def recorded_files(self, commit: str) -> list[Wanted] | None:
        """The files that the record tells, sorted by name; None without a record.

        Raises:
            CheckpointError: The record lacks what such a checkpoint must have.
        """
        if self.entry is None:
            return None
        records = sorted(self.entry.files.items())
        names = {name for name, _ in records}
        _require_complete(self, commit, names, names)
        return [Wanted(name=name, size_bytes=one.size_bytes, sha256=one.sha256) for name, one in records]

    def listed_files(self, hub: Hub, commit: str) -> list[Wanted]:
        """The files to have, of those the Hub lists; config.json and weights among them, sorted by name.

        Raises:
            HubError: It could not be asked.
            CheckpointError: The listing lacks what such a checkpoint must have.
        """
        repo = self.repo or ""
        listed = {file.name: file for file in hub.files_in(repo, commit, self.inside)}
        names = _chosen(self.kind, set(listed))
        _require_complete(self, commit, names, set(listed))
        if WEIGHTS not in listed and INDEX not in names:
            for name in (WEIGHTS, INDEX)[: 1 if self.kind == "head" else 2]:
                if hub.has(repo, commit, self.path(name)):  # a lost page must not turn a head into a pickle
                    raise _incomplete(self, commit, [name], set(listed))
        return [Wanted(**vars(listed[name])) for name in sorted(names)]


def is_pickled(kind: Literal["head", "model"], names: Set[str]) -> bool:
    """Whether the weights among these files are a pickle: other pickles may lie there, and nothing loads them.

    >>> is_pickled("head", {"config.json", "model.safetensors", "training_args.bin"})
    False
    >>> is_pickled("head", {"config.json", "pytorch_model.bin"})
    True
    """
    weights = {name for name in names if name in (WEIGHTS, PICKLE)}
    if kind == "model":
        weights |= {name for name in names if _SHARD.fullmatch(name)}
    return bool(weights) and all(name.endswith(".bin") for name in weights)


def head_order(shelf: Shelf, head: Head, earlier: Lock) -> Order:
    """The order of a head; `earlier` is the record of what was downloaded before.

    Raises:
        CatalogError: a source that cannot be one.
    """
    source = shelf.catalog.sources[head.from_]
    entries = shelf.lock.heads.get(head.name), earlier.heads.get(head.name)
    look = partial(head_place, shelf.catalog, head)
    return _order("head", head.name, source, inside=head.folder, entries=entries, look=look)


def model_order(shelf: Shelf, model: Model, earlier: Lock) -> Order:
    """The order of a base model; as for `head_order`."""
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
) -> Order:
    """Looking up the place also proves that repo, revision and folder are what they should be."""
    revision = source.revision or DEFAULT_REVISION
    entry, unlocked = _entry(*entries, revision)
    if source.hub is not None and unlocked and not is_safe_name(name):
        problem = "no lock can hold a record of this name: plain letters, digits and ._+-=@ only"
        raise CatalogError([CatalogFault(file="catalog", line=None, path=ascii(name)[:120], problem=problem)])
    return Order(
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


def _chosen(kind: str, listed: Set[str]) -> set[str]:
    """Of the listed files those to fetch: an allow-list, so that a listing chooses no name of its own."""
    plain = {CONFIG, *HEAD_EXTRAS} if kind == "head" else set(MODEL_FILES)
    shards = {name for name in listed if kind == "model" and _SHARD.fullmatch(name)}
    pickles = {name for name in shards if name.endswith(".bin")}
    forms: list[set[str]] = [{WEIGHTS}, shards - pickles, {PICKLE}, pickles]  # the first that is there
    weights: set[str] = next((form for form in forms if form & listed), set())
    if weights & shards:
        weights = {*weights, PICKLE_INDEX if weights & pickles else INDEX}
    return (plain | weights) & listed


def _require_complete(order: Order, commit: str, names: Set[str], listed: Set[str]) -> None:
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


def _incomplete(order: Order, commit: str, lacking: list[str], listed: Set[str]) -> CheckpointError:
    teller = "The record" if order.entry is not None else "The Hub's listing"
    got = ", ".join(sorted(listed)[:8]) or "nothing"
    return CheckpointError(
        f"{teller} of {order.name} at {commit} is incomplete: expected {', '.join(lacking[:4])} too, "
        f"got {got}. Nothing was installed. Try again; if this repeats, check its source and path in the "
        "catalog.",
        path=order.path(lacking[0]),
        problems=[f"{name} is not listed" for name in lacking],
    )
