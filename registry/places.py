"""Where a checkpoint's files are on this machine. Looks, and neither fetches nor imports anything.

A source's own folder may be a symbolic link: whoever wrote the catalog put it there. Below it, a link that
leads outside is not followed. The Hub's cache is read as its client lays it out:
`models--org--name/snapshots/<commit>/...`, with branch names in `refs/`.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from registry.errors import CatalogError, CatalogFault, NotInstalledError
from registry.records import Catalog, Head, Model, Source
from registry.suggested import fetching

COMMIT_DIGITS: Final = 40
DEFAULT_REVISION: Final = "main"

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REVISION = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_REPO_PART = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?")
_DOTTED_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where files are. `folder` is None when they are not here; `looked_in` says where they would be."""

    folder: Path | None
    looked_in: str
    kind: Literal["package", "folder", "hub"]
    commit: str | None = None

    def installed(self, name: str) -> Path:
        """The folder of what messages call `name`.

        Raises:
            NotInstalledError: it is not on this machine.
        """
        if self.folder is None:
            step = "Put it there, or mend the catalog."
            if self.kind == "hub":
                step = f"`{fetching(name)}` fetches it."
            raise NotInstalledError(subject=name, where=self.looked_in, next_step=step)
        return self.folder


def head_place(catalog: Catalog, head: Head, *, commit: str | None = None) -> Place:
    """Where a head's folder is.

    Args:
        catalog: Holds the head's source.
        head: The head.
        commit: The commit its record names, if any; a full commit in the catalog counts for more.

    Raises:
        CatalogError: a path, package, repo or revision that cannot be one.
    """
    source = catalog.sources[head.from_]
    _require_inside(head.folder, f"the folder of {head.name}")
    return _place(source, f"sources.{head.from_}", head.folder, commit)


def model_place(model: Model, *, commit: str | None = None) -> Place:
    """Where a base model's folder is; arguments and errors as for `head_place`."""
    source = Source.model_construct(
        hub=model.hub, revision=model.revision, package=model.package, path=model.path, base=model.base
    )
    return _place(source, f"models.{model.alias}", "", commit)


def hub_cache() -> Path:
    """The Hub's cache as its client finds it; a variable that is set to nothing counts as not set."""
    env = os.environ.get
    home = env("HF_HOME") or str(Path(env("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    cache = env("HF_HUB_CACHE") or env("HUGGINGFACE_HUB_CACHE") or str(Path(home) / "hub")
    return Path(os.path.expandvars(cache)).expanduser()


def _place(source: Source, where: str, inside: str, commit: str | None) -> Place:
    if source.hub is not None:
        return _in_hub(source.hub, source.revision, where, inside, commit)
    _require_inside(source.path or "", f"{where}.path")
    if source.package is not None:
        return _in_package(source.package, where, str(PurePosixPath(source.path or "", inside)))
    if source.path is None or source.base is None:
        return Place(folder=None, looked_in="no place that the catalog names", kind="folder")
    root = source.base / source.path
    folder = root / inside
    return Place(folder=_contained(root, folder), looked_in=str(folder), kind="folder")


def _in_package(package: str, where: str, inside: str) -> Place:
    looked_in = f"the Python package {package}, {inside}"
    for location in _package_folders(package, where):
        folder = _contained(location, location / inside)
        if folder is not None:
            return Place(folder=folder, looked_in=str(folder), kind="package")
    return Place(folder=None, looked_in=looked_in, kind="package")


def _package_folders(package: str, where: str) -> list[Path]:
    """Folders of an installed package. Finding a dotted name the usual way would import its parents."""
    if not _DOTTED_NAME.fullmatch(package):
        raise _fault(f"{where}.package", f"expected a package name, got {ascii(package)[:80]}")
    first, *rest = package.split(".")
    try:
        spec = find_spec(first)
    except (ImportError, ValueError):  # a broken finder, or a module that was put together by hand
        return []
    name = first
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return []
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, list(spec.submodule_search_locations))
    if spec is None or spec.submodule_search_locations is None:
        return []
    return [Path(location) for location in spec.submodule_search_locations]


def _in_hub(repo: str, revision: str | None, where: str, inside: str, commit: str | None) -> Place:
    parts = repo.split("/")
    if len(parts) > 2 or len(repo) > 96 or not all(_REPO_PART.fullmatch(p) and "--" not in p for p in parts):
        raise _fault(f"{where}.hub", f"expected 'org/name', got {ascii(repo)[:120]}")
    revision = revision or DEFAULT_REVISION
    if not _REVISION.fullmatch(revision) or any(part.strip(".") == "" for part in revision.split("/")):
        raise _fault(f"{where}.revision", f"expected a branch, tag or commit, got {ascii(revision)[:120]}")
    store = hub_cache() / "--".join(["models", *parts])
    pinned = revision if _COMMIT.fullmatch(revision) else commit
    if pinned is not None and not _COMMIT.fullmatch(pinned):
        raise _fault(where, f"expected a commit of {COMMIT_DIGITS} hex digits, got {ascii(pinned)[:80]}")
    found = pinned or _read_ref(store, revision)
    if found is None:
        return Place(folder=None, looked_in=f"{store} (revision {revision})", kind="hub")
    snapshot = store / "snapshots" / found
    folder = _contained(snapshot, snapshot / inside) if _contained(store, snapshot) else None
    return Place(folder=folder, looked_in=str(snapshot / inside), kind="hub", commit=found)


def _read_ref(store: Path, revision: str) -> str | None:
    """The commit a branch or tag stood at when it was last fetched: 40 hex digits and nothing else."""
    path = store / "refs" / revision
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size != COMMIT_DIGITS:
            return None
        text = path.read_bytes()[: COMMIT_DIGITS + 1].decode("ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return text if _COMMIT.fullmatch(text) else None


def _contained(root: Path, folder: Path) -> Path | None:
    """`folder`, if it is one and no link leads it out of `root`."""
    try:
        real_root, real = (Path(os.path.realpath(path, strict=True)) for path in (root, folder))
        return folder if real.is_dir() and real.is_relative_to(real_root) else None
    except (OSError, ValueError):
        return None


def _require_inside(path: str, where: str) -> None:
    parts = PurePosixPath(path).parts
    drive = len(path) > 1 and path[1] == ":"
    if path.startswith("/") or ".." in parts or drive or "\\" in path or any(ord(c) < 32 for c in path):
        raise _fault(where, f"expected a relative path without '..', got {ascii(path)[:120]}")


def _fault(path: str, problem: str) -> CatalogError:
    return CatalogError([CatalogFault(file="catalog", line=None, path=path, problem=problem)])
