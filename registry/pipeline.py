"""A chain, and where each of its checkpoints is on this machine: what another program consumes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.chains import Chain, lone, resolve
from registry.errors import NotInstalledError
from registry.names import find_model
from registry.records import Finding
from registry.shelf import Shelf
from registry.suggested import bringing

if TYPE_CHECKING:
    import torch

    from heads import Cascade
    from heads.memory import Memory
    from registry.hub.download import DownloadReport
    from registry.report import HeadReport, ModelReport


@dataclass(frozen=True, kw_only=True)
class PipelineHead:
    """One head of a pipeline. `path` is its folder on this machine, None when it is not here."""

    source: str
    target: str
    run: str
    path: Path | None

    @property
    def installed(self) -> bool:
        """Whether its files are on this machine; `Pipeline.verify` tells whether they are sound."""
        return self.path is not None

    @property
    def name(self) -> str:
        """`<source>--to--<target>/<run>`"""
        return f"{self.source}--to--{self.target}/{self.run}"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Reports on the heads and, where asked for, the models of a pipeline."""

    heads: tuple[HeadReport, ...]
    models: tuple[ModelReport, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no report holds a fault."""
        return all(report.ok for report in (*self.heads, *self.models))


@dataclass(frozen=True)
class Pipeline:
    """A resolved chain on this machine.

    `models` and the roles are aliases, smallest model first; `chain.models` holds their records.
    """

    chain: Chain
    shelf: Shelf

    def __str__(self) -> str:
        """For people: `pico-little -> pico-target`."""
        return " -> ".join(self.models)

    @property
    def models(self) -> tuple[str, ...]:
        """Aliases, smallest first."""
        return tuple(model.alias for model in self.chain.models)

    @property
    def heads(self) -> tuple[PipelineHead, ...]:
        """One per neighbouring pair of models, from the smallest edge up."""
        return tuple(
            PipelineHead(
                source=head.source, target=head.target, run=head.run, path=self.shelf.head_place(head).folder
            )
            for head in self.chain.heads
        )

    @property
    def roles(self) -> dict[str, str]:
        """Role -> alias: target; draft, target; little, draft, target; little, draft-1 ... draft-n, target."""
        return self.chain.roles

    @property
    def little(self) -> str | None:
        """The smallest of three or more models."""
        return self.roles.get("little")

    @property
    def draft(self) -> str | None:
        """The model below the target; None for a plain model. With four or more, the one nearest the target."""
        return self.models[-2] if len(self.models) > 1 else None

    @property
    def target(self) -> str:
        """The largest model, whose text it is."""
        return self.models[-1]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every compatibility check and how it came out."""
        return self.chain.findings

    @property
    def small_draft_acc_head_path(self) -> Path | None:
        """Folder of the first head of three or more models, as the published card names it."""
        return self.heads[0].path if len(self.heads) > 1 else None

    @property
    def draft_target_acc_head_path(self) -> Path | None:
        """Folder of the last head, as the published card names it."""
        return self.heads[-1].path if self.heads else None

    def require_installed(self, *, heads: bool = True) -> None:
        """Raise NotInstalledError for all models, and heads if wanted, that are not on this machine, at once."""
        shelf = self.shelf
        places = {model.alias: shelf.model_place(model) for model in self.chain.models}
        if heads:
            places |= {head.name: shelf.head_place(head) for head in self.chain.heads}
        missing = {name: place for name, place in places.items() if place.folder is None}
        if missing:
            raise NotInstalledError(
                subject=tuple(missing),
                where=", ".join(dict.fromkeys(place.looked_in for place in missing.values())),
                next_step=bringing(self.models, missing, catalogs=shelf.given),
            )

    def download(
        self, *, models: bool = False, dry_run: bool = False, timeout_s: float = 60.0
    ) -> DownloadReport:
        """Fetch what is not here of the heads, and of the models too when asked, each file verified.

        The store remembers it; where that cannot be, a RuntimeWarning says so.

        Args:
            models: The base models as well.
            dry_run: Only tell what would be fetched.
            timeout_s: Seconds without a byte after which a request is given up.

        Raises:
            UsageError: The Hub could not be asked, with the reason.
            CheckpointError: A file is not what its record says.
        """
        from registry.hub.download import download
        from registry.store.remembering import note_download

        chosen = self.chain.models if models else ()
        report = download(self.shelf, self.chain.heads, chosen, dry_run=dry_run, timeout_s=timeout_s)
        self.shelf.reload()
        _warn(note_download(report, self.shelf))
        return report

    def verify(self, *, models: bool = False) -> Verification:
        """Check the files of every head, and of the models too when asked, without the network.

        The store remembers it; where that cannot be, a RuntimeWarning says so.

        Raises:
            NotInstalledError: A file set is not on this machine.
        """
        from registry.store.remembering import note_verification

        began = datetime.now(UTC)
        found = Verification(
            heads=tuple(self.shelf.verify_head(head) for head in self.chain.heads),
            models=tuple(self.shelf.verify_model(model) for model in self.chain.models) if models else (),
        )
        _warn(note_verification([*found.heads, *found.models], self.shelf, checked_at=began))
        return found

    def load(
        self,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        engine: str | None = None,
        device_map: str | None = None,
        max_length: int | None = None,
    ) -> Cascade:
        """Load models and heads, each checked against its record first.

        Args:
            device: As torch names it; the first GPU when None and there is one, else the CPU.
            dtype: 'float32', 'bfloat16' or 'float16', or torch's own; when None float32 on a CPU, and on a GPU the
                stored one.
            engine: 'eager', 'captured' or 'fused'; captured on a GPU and eager on a CPU when None.
            device_map: 'auto' spreads the target over every GPU and the host by transformers' own rule, and puts all
                else beside its first layers.
            max_length: Positions of the longest text, prompt included; there must be room for it. None takes what
                the models were made for, or 4096 where that is less.

        Raises:
            NotInstalledError: A model or head is not on this machine.
            CheckpointError: A file is not what its record says.
            UsageError: It does not fit, and nothing was loaded; the message says what would.
        """
        from heads.runtime import load_cascade

        return load_cascade(
            self, device=device, dtype=dtype, engine=engine, device_map=device_map, max_length=max_length
        )

    def memory(
        self,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        engine: str | None = None,
        device_map: str | None = None,
        max_length: int | None = None,
    ) -> Memory:
        """What `load` with these options would need, and what is free; no weights are read. Needs torch.

        Raises:
            NotInstalledError: A model or head is not on this machine.
            CheckpointError: A config or header cannot be read, or there is no record to hold it against.
        """
        from heads.runtime import memory_of

        return memory_of(
            self, device=device, dtype=dtype, engine=engine, device_map=device_map, max_length=max_length
        )


def resolve_pipeline(
    source: str,
    target: str,
    *,
    length: int | None = None,
    via: str | Sequence[str] | None = None,
    run: str | None = None,
    catalog: str | Path | Sequence[str | Path] | None = None,
) -> Pipeline:
    """Find the chain from `source` to `target`, and where its checkpoints are. Needs no network and no torch.

    Args:
        source, target: Aliases or Hub ids. The same model twice gives that model alone.
        length: Exactly so many models.
        via: Models the chain must pass, in any order.
        run: That run wherever an edge has it.
        catalog: One or several catalog files over the built-in one.

    Raises:
        CatalogError: A catalog cannot be used; every fault is listed.
        UnknownNameError: No model of that name.
        NoChainError: No chain, with the reason.
    """
    shelf = Shelf.open(catalog)
    return Pipeline(find_chain(shelf, source, target, length=length, via=via, run=run), shelf)


def _warn(warning: str | None) -> None:
    """Tell whoever called `download` or `verify`."""
    if warning is not None:
        warnings.warn(warning, RuntimeWarning, stacklevel=3)


def find_chain(
    shelf: Shelf,
    source: str,
    target: str,
    *,
    length: int | None = None,
    via: str | Sequence[str] | None = None,
    run: str | None = None,
) -> Chain:
    """The chain for decoding: one model alone where source and target are the same."""
    ends: tuple[Any, Any] = find_model(shelf.catalog, source), find_model(shelf.catalog, target)
    if ends[0].alias == ends[1].alias and length in (None, 1) and via is None:
        return lone(shelf.catalog, target)
    return resolve(shelf.catalog, source, target, length=length, via=via, run=run, facts=shelf.edge_facts)
