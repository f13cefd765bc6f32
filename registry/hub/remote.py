"""What the Hub holds at one commit: a file in memory, checked, and the record of a whole folder.

Digests of large files are those of the Hub's own listing; of small ones git's sha1 stands there, so they are
read, held against it, and hashed. Nothing of it stays on this machine: the cache used is gone afterwards.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, Literal

from registry.errors import CheckpointError
from registry.files.folder import CheckpointFolder, is_safe_name, shown_name
from registry.headsight import CONFIG, PICKLE, WEIGHTS
from registry.records import FileRecord, LockEntry

if TYPE_CHECKING:
    from registry.hub.client import Hub, RemoteFile

MAX_READ_BYTES: Final = 64 << 20
MAX_FILES: Final = 1_000
HOPELESS: Final = frozenset({"offline", "unreachable", "timeout", "token", "unsendable"})
"""Reasons for which the Hub need not be asked for the next thing either."""

_SAFETENSORS = re.compile(r"model(?:-\d{5}-of-\d{5})?\.safetensors(?:\.index\.json)?")
_SHARD = re.compile(r"(model|pytorch_model)-\d{5}-of-(\d{5})\.(?:safetensors|bin)")
_WEIGHTS = re.compile(r"[^/]+\.safetensors|pytorch_model(?:-\d{5}-of-\d{5})?\.bin")
_PICKLES = re.compile(r"pytorch_model(?:-\d{5}-of-\d{5})?\.bin(?:\.index\.json)?")


@contextmanager
def asked_hub(*, endpoint: str | None = None, timeout_s: float = 60.0) -> Iterator[Hub]:
    """The Hub, opened to look at things: what is fetched lies in a folder that goes when this ends.

    Raises:
        HubError: It may not be asked.
    """
    from registry.hub.client import Hub  # noqa: PLC0415 - half a second, which local folders do without

    with (
        TemporaryDirectory(prefix="specreg-") as folder,
        Hub(cache=Path(folder), endpoint=endpoint, timeout_s=timeout_s, bars=False) as hub,
    ):
        yield hub


def remote_bytes(hub: Hub, repo: str, commit: str, file: RemoteFile, *, inside: str = "") -> bytes:
    """The bytes of one file, which are what the listing says of it.

    Args:
        hub: Opened by `asked_hub`.
        repo: `org/name`.
        commit: 40 hex digits.
        file: As listed, its name safe.
        inside: The folder that its name starts from; the root when empty.

    Raises:
        HubError: It could not be fetched.
        CheckpointError: It is larger than MAX_READ_BYTES, or not what the listing says.
    """
    path = f"{inside}/{file.name}" if inside else file.name
    if file.size_bytes > MAX_READ_BYTES:
        raise _refused(repo, path, f"{file.size_bytes} bytes, at most {MAX_READ_BYTES} are read")
    found = hub.fetch(repo, commit, path)
    try:
        with CheckpointFolder(found.parent).open(found.name) as stream:
            if stream.size_bytes != file.size_bytes:
                raise _refused(repo, path, f"expected {file.size_bytes} bytes, got {stream.size_bytes}")
            content = stream.read_all()
    except OSError as error:
        raise _refused(repo, path, error.strerror or str(error)) from error
    _require_listed(repo, path, file, content)
    return content


def remote_entry(
    hub: Hub,
    repo: str,
    commit: str,
    inside: str,
    *,
    kind: Literal["head", "model"],
) -> LockEntry:
    """The record of every file that lies in one folder of a repository at a commit.

    Args:
        hub: Opened by `asked_hub`.
        repo, commit, inside: Which folder; the root when `inside` is empty.
        kind: Of a head every file is recorded; of a model, what a download of it would fetch.

    Raises:
        HubError: The Hub could not be asked, or has no such folder.
        CheckpointError: The listing lacks config.json or weights, holds names that are unsafe, or too many, or
            a small file is not what it says.
    """
    files = {file.name: file for file in hub.files_in(repo, commit, inside)}
    names = sorted(files if kind == "head" else _model_files(set(files)))
    problems = [
        f"{shown_name(name)}: a name that is not safe on every system"
        for name in names
        if not is_safe_name(name)
    ]
    if len(names) > MAX_FILES:
        problems.append(f"{len(names)} files, at most {MAX_FILES} are recorded")
    if problems:
        raise _unfit(repo, commit, inside, problems)
    _require_whole(hub, repo, commit, inside, kind=kind, names=names)
    records = {name: _record(hub, repo, commit, files[name], inside) for name in names}
    return LockEntry(commit=commit, files=records)


def _model_files(listed: set[str]) -> set[str]:
    """Of the files of a base model those worth a record: what a download of it would fetch."""
    from registry.hub.orders import MODEL_FILES  # noqa: PLC0415 - heads do without

    safe = {name for name in listed if _SAFETENSORS.fullmatch(name)}
    pickled = {name for name in listed if _PICKLES.fullmatch(name)}
    return (set(MODEL_FILES) & listed) | (safe or pickled)


def missing_parts(kind: Literal["head", "model"], names: Iterable[str]) -> list[str]:
    """What keeps files of these names from being a whole checkpoint: each problem, as what follows 'it holds'.

    >>> missing_parts("head", ["config.json", "training_args.bin"])
    ['neither model.safetensors nor pytorch_model.bin']
    """
    named = set(names)
    problems = [] if CONFIG in named else [f"no {CONFIG}"]
    wanted = (lambda name: name in (WEIGHTS, PICKLE)) if kind == "head" else _WEIGHTS.fullmatch
    if not any(map(wanted, named)):
        problems.append(f"neither {WEIGHTS} nor {PICKLE}")
    if kind == "model":
        shards = Counter(match.groups() for name in named if (match := _SHARD.fullmatch(name)))
        problems += [
            f"{count} of {int(due)} parts of the weights"
            for (_, due), count in sorted(shards.items())
            if count != int(due)
        ]
    return problems


def _record(hub: Hub, repo: str, commit: str, file: RemoteFile, inside: str) -> FileRecord:
    if file.sha256 is not None:
        return FileRecord(size_bytes=file.size_bytes, sha256=file.sha256)
    content = remote_bytes(hub, repo, commit, file, inside=inside)
    return FileRecord(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _require_whole(
    hub: Hub, repo: str, commit: str, inside: str, *, kind: Literal["head", "model"], names: Iterable[str]
) -> None:
    """All that `missing_parts` asks for; a page of the listing that was lost must not turn a head into a pickle."""
    named = set(names)
    problems = [f"it lists {problem}" for problem in missing_parts(kind, named)]
    if PICKLE in named and not any(name.endswith(".safetensors") for name in named):
        path = f"{inside}/{WEIGHTS}" if inside else WEIGHTS
        if hub.has(repo, commit, path):
            problems.append(f"it lists no {WEIGHTS}, which is there")
    if problems:
        raise _unfit(repo, commit, inside, problems)


def _require_listed(repo: str, path: str, file: RemoteFile, content: bytes) -> None:
    if file.sha256 is not None:
        expected, found, kind = file.sha256, hashlib.sha256(content).hexdigest(), "sha256"
    else:
        blob = b"blob %d\0" % len(content) + content
        expected, found = file.git_sha1 or "", hashlib.sha1(blob, usedforsecurity=False).hexdigest()
        kind = "git's sha1"
    if found != expected:
        raise _refused(repo, path, f"expected {kind} {expected}, got {found}")


def _refused(repo: str, path: str, problem: str) -> CheckpointError:
    return CheckpointError(
        f"{path} of {repo} is not what the Hub's listing says of it: {problem}. Try again; "
        f"if this repeats, tell the owners of {repo}.",
        path=path,
        problems=[problem],
    )


def _unfit(repo: str, commit: str, inside: str, problems: list[str]) -> CheckpointError:
    where = f"{inside} of {repo}" if inside else repo
    return CheckpointError(
        f"The listing of {where} at {commit} cannot be recorded: {'; '.join(problems[:8])}. Try again; "
        "if this repeats, check its source and path in the catalog.",
        path=inside,
        problems=problems,
    )
