"""The plan of an import: where it comes from, what would be added, and what is said of the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from registry.editing.collection import OddFolder
from registry.editing.draft import Draft
from registry.errors import UsageError
from registry.reading.fields import PATH, REPO, REVISION

MARK: Final = "which model this is has not been said: add its hub, package or path"

HeadStatus = Literal["new", "known", "taken", "misfit"]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a collection is: `place` are the keys of a source that says so, `where` the folder or repository."""

    where: str
    place: Mapping[str, str]
    folder: Path | None = None
    commit: str | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What somebody knows of a model that no catalog has."""

    hub: str | None = None
    hidden_size: int | None = None


Ask = Callable[[str, int | None, tuple[str, ...]], Answer | None]
"""Asks about an unknown model: its name, the hidden size its heads say, and near names; None leaves it open."""


@dataclass(frozen=True, kw_only=True)
class ModelProposal:
    """A model that no catalog has. `marked` says that nobody knows where it is."""

    name: str
    values: Mapping[str, Any]
    suggestions: tuple[str, ...]

    @property
    def marked(self) -> bool:
        """Whether somebody still has to say which model this is."""
        return "hub" not in self.values


@dataclass(frozen=True, kw_only=True)
class HeadProposal:
    """A head of the collection, and how it stands to the catalog; `values` is its entry."""

    name: str
    folder: str
    status: HeadStatus
    detail: str
    pickled: bool
    hidden_size: int
    layers: int
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that an import would do. `source` is the entry of the source; None where the catalog has it already."""

    origin: Origin
    source_name: str
    source: Mapping[str, str] | None
    models: tuple[ModelProposal, ...]
    heads: tuple[HeadProposal, ...]
    odd: tuple[OddFolder, ...]

    @property
    def new(self) -> tuple[HeadProposal, ...]:
        """The heads to add."""
        return tuple(head for head in self.heads if head.status == "new")

    @property
    def sound(self) -> bool:
        """Whether no folder with a head's name is odd, and no head a misfit."""
        return not any(one.fault for one in self.odd) and all(head.status != "misfit" for head in self.heads)

    def carry_out(self, draft: Draft) -> None:
        """Add what is new to a draft."""
        if not self.new:
            return
        if self.source is not None:
            draft.add_entries("sources", {self.source_name: self.source})
        draft.add_entries(
            "models",
            {model.name: model.values for model in self.models},
            notes={model.name: MARK for model in self.models if model.marked},
        )
        draft.add_heads([head.values for head in self.new])


def origin_of(given: str, *, revision: str | None, base: Path) -> Origin:
    """The place that was meant: a folder on this machine where there is one of that name, else a Hub repository.

    Args:
        given: A path or `owner/name`.
        revision: Branch, tag or commit, of a repository only.
        base: The folder that the catalog's paths start from.

    Raises:
        UsageError: It is neither, or a folder that a catalog there could not name.
    """
    path = Path(given).expanduser()
    if path.is_dir():
        if revision is not None:
            raise UsageError(f"{given} is a folder, which has no revisions: leave --revision out.")
        inside = os.path.relpath(os.path.realpath(path), os.path.realpath(base)).replace(os.sep, "/")
        if not PATH.accepts(inside):
            raise UsageError(
                f"{path} does not lie below {base}, where the catalog's own paths start: "
                "put the catalog above it, and name it with --into."
            )
        return Origin(where=str(path), place={"path": inside}, folder=Path(os.path.realpath(path)))
    if not REPO.accepts(given):
        raise UsageError(f"{given!r} is no folder here, and no Hub repository: expected {REPO.expected}.")
    if revision is not None and not REVISION.accepts(revision):
        raise UsageError(f"{revision!r} is no revision: expected {REVISION.expected}.")
    place = {"hub": given, **({"revision": revision} if revision else {})}
    return Origin(where=given, place=place)
