"""How a repository of the Hub stands to a head that is to be published: what lies there, and what is to be done."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from registry.card import metadata, repository_card
from registry.errors import CheckpointError, UsageError
from registry.files.filenames import CARD, PICKLE, WEIGHTS
from registry.hub.listing import RemoteFile
from registry.hub.remote import remote_bytes
from registry.places import DEFAULT_REVISION
from registry.publication import PUBLISHED, Publication
from registry.records import Record

if TYPE_CHECKING:
    from registry.hub.client import Hub

SentStatus = Literal["added", "replaced", "removed", "the same", "kept"]

_CHANGED: Final = frozenset({"added", "replaced"})


class SentFile(Record):
    """One file: its path in the repository, and what becomes of it there."""

    path: str
    size_bytes: int
    sha256: str | None
    status: SentStatus


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is to be done at a commit. Paths are those in the repository; notes are for its owners."""

    commit: str
    files: tuple[SentFile, ...]
    changes: Mapping[str, bytes]
    notes: tuple[str, ...] = ()

    @property
    def removed(self) -> tuple[str, ...]:
        """Paths that go."""
        return tuple(file.path for file in self.files if file.status == "removed")

    @property
    def replaces(self) -> bool:
        """Whether anything gives way."""
        return any(file.status in ("replaced", "removed") for file in self.files)

    @property
    def settled(self) -> bool:
        """Whether nothing is to be done."""
        return not self.changes and not self.removed


def look(hub: Hub, repo: str, publication: Publication, *, replace: bool) -> Standing:
    """Compare a head with what lies at the commit that main stands at now.

    A card that was made here gives way to one that is there, and is no reason for a commit of its own. With
    `replace` it is sent, and what lies there of an earlier head of that run goes.

    Raises:
        HubError: The Hub could not be asked.
        UsageError: Other bytes of that run are there, and `replace` is not asked for.
    """
    commit = hub.commit_of(repo, DEFAULT_REVISION)
    there = hub.files_by_name(repo, commit, publication.folder)
    status = {name: _compared(content, there.get(name)) for name, content in publication.files.items()}
    if not replace:
        own = {name: found for name, found in status.items() if not (publication.made and name == CARD)}
        _require_free(repo, publication.folder, own, there)
        if publication.made and CARD in there:
            status[CARD] = "the same" if status[CARD] == "the same" else "kept"
        elif all(found == "the same" for found in own.values()):
            status = own
    files = [_sent(publication, name, found) for name, found in status.items()]
    if replace:
        stale = [name for name in (*PUBLISHED, PICKLE) if name in there and name not in status]
        files += [_removed(publication.folder, there[name]) for name in stale]
    changed = [name for name, found in status.items() if found in _CHANGED]
    changes = {f"{publication.folder}/{name}": publication.files[name] for name in changed}
    standing = Standing(commit=commit, files=tuple(files), changes=changes)
    return standing if standing.settled else _with_root(hub, repo, publication, standing)


def is_listed(content: bytes, there: RemoteFile) -> bool:
    """Whether the Hub lists these very bytes."""
    if there.size_bytes != len(content):
        return False
    if there.sha256 is not None:
        return there.sha256 == _sha256(content)
    blob = b"blob %d\0" % len(content) + content
    return there.git_sha1 == hashlib.sha1(blob, usedforsecurity=False).hexdigest()


def _compared(content: bytes, there: RemoteFile | None) -> SentStatus:
    if there is None:
        return "added"
    return "the same" if is_listed(content, there) else "replaced"


def _require_free(
    repo: str, folder: str, own: Mapping[str, SentStatus], there: Mapping[str, RemoteFile]
) -> None:
    others = [name for name, found in own.items() if found == "replaced"]
    if PICKLE in there and own[WEIGHTS] == "added":  # whether it holds the same numbers nobody can tell
        others.append(PICKLE)
    if others:
        raise UsageError(
            f"{folder} is in {repo} already, with other bytes: {', '.join(others)}. Nothing was sent. "
            "`--replace` puts those of this machine in their place; another run's name leaves both."
        )


def _with_root(hub: Hub, repo: str, publication: Publication, standing: Standing) -> Standing:
    """The repository's own card beside the head's files where it has none; else what its owners may add to theirs."""
    theirs = hub.files_by_name(repo, standing.commit, "").get(CARD)
    ends = (publication.head, publication.source, publication.target)
    files, changes = standing.files, standing.changes
    if theirs is None:
        card = repository_card(repo=repo, heads=[ends], license=publication.license)
        content = card.encode("utf-8", "replace")
        made = SentFile(path=CARD, size_bytes=len(content), sha256=_sha256(content), status="added")
        return Standing(commit=standing.commit, files=(*files, made), changes={**changes, CARD: content})
    try:
        text = remote_bytes(hub, repo, standing.commit, theirs)
    except CheckpointError:  # too large to be looked at
        text = b""
    lacking = [model for model in ends[1:] if model.hub is not None and model.hub.encode() not in text]
    if not lacking:
        return standing
    lines = "\n".join(f"  {line}" for line in metadata(publication.license, lacking).splitlines())
    note = (
        f"{CARD} of {repo} is left as it is. For the Hub to show the head beside its models, the front matter "
        f"there needs:\n{lines}"
    )
    return Standing(commit=standing.commit, files=files, changes=changes, notes=(note,))


def _sent(publication: Publication, name: str, status: SentStatus) -> SentFile:
    content = publication.files[name]
    path = f"{publication.folder}/{name}"
    return SentFile(path=path, size_bytes=len(content), sha256=_sha256(content), status=status)


def _removed(folder: str, file: RemoteFile) -> SentFile:
    path = f"{folder}/{file.name}"
    return SentFile(path=path, size_bytes=file.size_bytes, sha256=file.sha256, status="removed")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
