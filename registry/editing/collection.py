"""The heads that a Hub repository or a folder holds, by the names of its files alone.

A head lies in `<source>--to--<target>/<run>`, at the root or deeper in. What looks like a head and is none
is odd, and said to be so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import CheckpointError, UsageError
from registry.files.folder import CheckpointFolder, is_safe_name, shown_name
from registry.headsight import CONFIG, PICKLE, WEIGHTS
from registry.hub.remote import MAX_READ_BYTES, remote_bytes
from registry.names import fold
from registry.reading.fields import ALIAS, NAME, PATH
from registry.records import HEAD_SEPARATOR

if TYPE_CHECKING:
    from registry.hub.client import Hub, RemoteFile

LAYOUT = f"<source>{HEAD_SEPARATOR}<target>/<run>"

_ELSEWHERE = f"weights that do not lie in {LAYOUT}"
_TELLING = frozenset({CONFIG, WEIGHTS, PICKLE})


@dataclass(frozen=True, kw_only=True)
class FoundHead:
    """A folder that is laid out as a head: the names in its own name, and those of the files right in it."""

    source: str
    target: str
    run: str
    folder: str
    files: frozenset[str]

    @property
    def pickled(self) -> bool:
        """Whether its only weights are a pickle."""
        return WEIGHTS not in self.files


@dataclass(frozen=True, kw_only=True)
class OddFolder:
    """A folder that looks like a head and cannot be one. Without a `fault` it may well be something else."""

    folder: str
    reason: str
    fault: bool = True


@dataclass(frozen=True, kw_only=True)
class Collection:
    """What lies at one place at one moment. `read` gives the bytes of a file by its name from the root."""

    heads: tuple[FoundHead, ...]
    odd: tuple[OddFolder, ...]
    read: Callable[[str], bytes]
    listed: Mapping[str, RemoteFile | None]
    commit: str | None = None


def hub_collection(hub: Hub, repo: str, commit: str) -> Collection:
    """What a repository holds at a commit. `read` checks bytes against the listing.

    Raises:
        HubError: The Hub could not be asked, or there is no such repository or commit.
    """
    listed = {file.name: file for file in hub.files_under(repo, commit)}
    heads, odd = _sorted_out(listed)

    def read(name: str) -> bytes:
        return remote_bytes(hub, repo, commit, listed[name])

    return Collection(heads=heads, odd=odd, read=read, listed=listed, commit=commit)


def folder_collection(path: Path) -> Collection:
    """What a folder on this machine holds; hidden folders and links that lead out of it are not looked into.

    Raises:
        UsageError: It cannot be listed.
    """
    folder = CheckpointFolder(path)
    try:
        names = folder.names()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}. Check the path.") from error
    heads, odd = _sorted_out(names)

    def read(name: str) -> bytes:
        try:
            with folder.open(name) as file:
                if file.size_bytes > MAX_READ_BYTES:
                    raise CheckpointError(
                        f"{name} in {path} has {file.size_bytes} bytes, at most {MAX_READ_BYTES} are read.",
                        path=name,
                        problems=[f"more than {MAX_READ_BYTES} bytes"],
                    )
                return file.read_all()
        except OSError as error:
            reason = error.strerror or str(error)
            raise CheckpointError(
                f"{name} in {path} cannot be read: {reason}.", path=name, problems=[reason]
            ) from error

    return Collection(heads=heads, odd=odd, read=read, listed=dict.fromkeys(names))


def _sorted_out(names: Iterable[str]) -> tuple[tuple[FoundHead, ...], tuple[OddFolder, ...]]:
    """Heads and odd folders among the names of all files, each sorted by folder."""
    runs: dict[str, set[str]] = {}
    odd: dict[str, str] = {}
    for name in names:
        *folders, file = name.split("/")
        if any(part.startswith(".") and part.strip(".") for part in folders):
            continue
        edges = [at for at, part in enumerate(folders) if HEAD_SEPARATOR in fold(part)]
        if not edges:
            if file in (WEIGHTS, PICKLE):
                odd["/".join(folders) or "."] = _ELSEWHERE
        elif len(folders) > edges[0] + 1:
            members = runs.setdefault("/".join(folders[: edges[0] + 2]), set())
            members.update({file} if len(folders) == edges[0] + 2 else ())
        elif file in _TELLING:
            odd["/".join(folders)] = "its files lie right in it, not in the folder of a run"
    heads: dict[tuple[str, str, str], FoundHead] = {}
    for folder, files in sorted(runs.items()):
        found = _head(folder, frozenset(files))
        if isinstance(found, str):
            odd[folder] = found
            continue
        first = heads.setdefault((found.source, found.target, fold(found.run)), found)
        if first is not found:
            odd[folder] = f"the same head as in {first.folder}"
    told = tuple(
        OddFolder(folder=shown_name(folder), reason=reason, fault=reason != _ELSEWHERE)
        for folder, reason in sorted(odd.items())
    )
    return tuple(heads.values()), told


def _head(folder: str, files: frozenset[str]) -> FoundHead | str:
    """The head in a folder, or why it is none."""
    edge, run = folder.split("/")[-2:]
    source, separator, target = edge.partition(HEAD_SEPARATOR)
    named = all(kind.accepts(part) for part, kind in ((source, ALIAS), (target, ALIAS), (run, NAME)))
    unsafe = sorted(name for name in files if not is_safe_name(name))
    reasons = {
        f"a bad name: expected {LAYOUT}, each {NAME.expected}": not (separator and named),
        "a bad name: it is not safe on every system": not (is_safe_name(folder) and PATH.accepts(folder)),
        "it leads from a model to itself": source == target,
        f"no {CONFIG}": CONFIG not in files,
        f"no weights: neither {WEIGHTS} nor {PICKLE}": not files & {WEIGHTS, PICKLE},
        f"a file of a name that is not safe on every system: {shown_name(''.join(unsafe[:1]))}": bool(unsafe),
    }
    for reason, holds in reasons.items():
        if holds:
            return reason
    return FoundHead(source=source, target=target, run=run, folder=folder, files=files)
