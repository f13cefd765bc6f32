"""A catalog with its locks, and where its checkpoints are on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from registry.catalog import load_catalog, lock_paths
from registry.facts import EdgeFacts, read_edge_facts
from registry.home import downloaded_lock_path
from registry.lock import Lock, read_downloaded, read_lock
from registry.places import Place, head_place, model_place
from registry.records import Catalog, Head, Model

if TYPE_CHECKING:
    from registry.report import HeadReport, ModelReport


class Shelf:
    """A catalog, its locks, and where its checkpoints are on this machine.

    `given` are the catalogs that were asked with, as they were written: a suggested command keeps them.
    """

    def __init__(
        self,
        catalog: Catalog,
        lock: Lock,
        *,
        downloaded: Path | None = None,
        lock_files: Sequence[Path] = (),
        given: Sequence[str | Path] = (),
    ) -> None:
        self.catalog = catalog
        self.lock = lock
        self.given = tuple(given)
        self._downloaded = downloaded
        self._lock_files = tuple(lock_files)

    def reload(self) -> None:
        """Read the lock's files again, after something was downloaded."""
        if self._downloaded is not None:
            self.lock = _layered(self._downloaded, self._lock_files)

    @classmethod
    def open(cls, extra: str | Path | Sequence[str | Path] | None = None) -> Self:
        """The built-in catalog, those of SPECREG_CATALOG and `extra`, with the locks beside them.

        What was downloaded without an entry there has its record under SPECREG_HOME, which gives way to them.
        """
        catalog, downloaded, files = load_catalog(extra), downloaded_lock_path(), lock_paths(extra)
        given = (extra,) if isinstance(extra, str | Path) else tuple(extra or ())
        return cls(catalog, _layered(downloaded, files), downloaded=downloaded, lock_files=files, given=given)

    def head_place(self, head: Head) -> Place:
        """Where a head's files are."""
        entry = self.lock.heads.get(head.name)
        return head_place(self.catalog, head, commit=entry.commit if entry else None)

    def model_place(self, model: Model) -> Place:
        """Where a model's files are."""
        entry = self.lock.models.get(model.alias)
        return model_place(model, commit=entry.commit if entry else None)

    def edge_facts(self, head: Head) -> EdgeFacts:
        """What the files on this machine say about one edge."""
        models = self.catalog.models
        return read_edge_facts(
            self.head_place(head).folder,
            self.model_place(models[head.source]).folder,
            self.model_place(models[head.target]).folder,
        )

    def verify_head(self, head: Head) -> HeadReport:
        """Check one head's files against its record and the two models it joins."""
        from registry.verify import Ends, verify_head

        source, target = (self.catalog.models[alias] for alias in (head.source, head.target))
        ends = Ends(
            source=source,
            target=target,
            source_folder=self.model_place(source).folder,
            target_folder=self.model_place(target).folder,
            source_entry=self.lock.models.get(source.alias),
            target_entry=self.lock.models.get(target.alias),
            families=self.catalog.tokenizers,
        )
        entry = self.lock.heads.get(head.name)
        return verify_head(head, self.head_place(head), entry=entry, ends=ends, catalogs=self.given)

    def verify_model(self, model: Model) -> ModelReport:
        """Check one model's files against its record."""
        from registry.verify import verify_model

        return verify_model(model, self.model_place(model), entry=self.lock.models.get(model.alias))


def _layered(downloaded: Path, files: Sequence[Path]) -> Lock:
    """The catalogs' locks, laid over the record of what was downloaded."""
    below, above = read_downloaded(downloaded), read_lock(files)
    return Lock.model_construct(
        version=1, heads={**below.heads, **above.heads}, models={**below.models, **above.models}
    )
