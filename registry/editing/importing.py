"""What a collection of heads would add to a catalog: entries for what is new, a word on everything else."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from registry.editing.collection import Collection, FoundHead, OddFolder
from registry.editing.importplan import Answer, Ask, HeadProposal, HeadStatus, ModelProposal, Origin, Plan
from registry.errors import CheckpointError, UnknownNameError, UsageError
from registry.files.layout import MAX_CONFIG_BYTES, HeadConfig, parse_head_config
from registry.headsight import CONFIG
from registry.names import find_model
from registry.places import DEFAULT_REVISION, head_place
from registry.reading.fields import NAME
from registry.reading.layer import head_key
from registry.records import Catalog, Head, Source
from registry.runs import parse_run_name

TRAINER_STATE: Final = "trainer_state.json"


def plan_import(
    collection: Collection,
    origin: Origin,
    catalog: Catalog,
    *,
    source_name: str | None = None,
    ask: Ask = lambda *_: None,
    training: bool = False,
) -> Plan:
    """Judge every head of a collection. Each config.json is read; nothing is written.

    Args:
        collection: What lies there.
        origin: Where that is.
        catalog: All that is known already.
        source_name: What to call the source; the name it has, or one made from its own, when None.
        ask: Asked about each model that is not known.
        training: Read trainer_state.json too, and put its summary into the entries.

    Raises:
        UsageError: The source's name is taken by another place, or is none.
        HubError: A file could not be fetched.
    """
    return _Planning(collection, origin, catalog, ask, training).plan(source_name)


class _Planning:
    """One import on its way to a plan."""

    def __init__(
        self, collection: Collection, origin: Origin, catalog: Catalog, ask: Ask, training: bool
    ) -> None:
        self._collection = collection
        self._origin = origin
        self._catalog = catalog
        self._ask = ask
        self._training = training
        self._odd = list(collection.odd)
        self._alias_of: dict[str, str] = {}
        self._unknown: dict[str, ModelProposal] = {}
        self._known = {head_key(head): head for head in catalog.heads}

    def plan(self, source_name: str | None) -> Plan:
        read = [
            (head, config) for head in self._collection.heads if (config := self._config(head)) is not None
        ]
        sizes: dict[str, set[int]] = {}
        for head, config in read:
            sizes.setdefault(head.source, set()).add(config.hidden_size)
        for head, _ in read:
            for name in (head.source, head.target):
                if name not in self._alias_of:
                    self._alias_of[name] = self._alias(name, sizes.get(name, set()))
        name, source = self._source(source_name)
        heads = tuple(self._proposal(head, config, sizes[head.source], name) for head, config in read)
        ends = {
            end
            for head in heads
            if head.status == "new"
            for end in (head.values["source"], head.values["target"])
        }
        return Plan(
            origin=self._origin,
            source_name=name,
            source=source,
            models=tuple(model for alias, model in self._unknown.items() if alias in ends),
            heads=heads,
            odd=tuple(sorted(self._odd, key=lambda odd: odd.folder)),
        )

    def _config(self, head: FoundHead) -> HeadConfig | None:
        try:
            return parse_head_config(self._collection.read(f"{head.folder}/{CONFIG}")[: MAX_CONFIG_BYTES + 1])
        except CheckpointError as error:
            self._odd.append(OddFolder(folder=head.folder, reason=f"{CONFIG}: {'; '.join(error.problems)}"))
            return None

    def _alias(self, name: str, sizes: set[int]) -> str:
        """The alias of the model that answers to `name`; its own name where none does."""
        try:
            return find_model(self._catalog, name).alias
        except UnknownNameError as error:
            near = error.suggestions
        said = next(iter(sizes)) if len(sizes) == 1 else None
        answer = self._ask(name, said, near) or Answer()
        if answer.hub is not None:
            try:
                return find_model(self._catalog, answer.hub).alias
            except UnknownNameError:
                pass
        values: dict[str, Any] = {"hub": answer.hub, "hidden_size": said or answer.hidden_size}
        values = {key: value for key, value in values.items() if value is not None}
        self._unknown[name] = ModelProposal(name=name, values=values, suggestions=near)
        return name

    def _source(self, given: str | None) -> tuple[str, Mapping[str, str] | None]:
        """The source's name, and its entry unless the catalog has it."""
        sources = self._catalog.sources
        same = [name for name, source in sources.items() if self._is_here(source)]
        if given is None and same:
            return same[0], None
        if given is None:
            return self._made_name(), self._origin.place
        if given in same:
            return given, None
        if given in sources:
            raise UsageError(f"The source {given!r} is another place already: choose another --source-name.")
        if not NAME.accepts(given):
            raise UsageError(f"{given!r} cannot name a source: expected {NAME.expected}.")
        return given, self._origin.place

    def _is_here(self, source: Source) -> bool:
        if self._origin.folder is not None:
            here = source.package is None and source.path is not None and source.base is not None
            return here and os.path.realpath(Path(source.base or ".") / (source.path or "")) == str(
                self._origin.folder
            )
        revision = self._origin.place.get("revision", DEFAULT_REVISION)
        return source.hub == self._origin.place["hub"] and (source.revision or DEFAULT_REVISION) == revision

    def _made_name(self) -> str:
        last = Path(self._origin.folder or self._origin.where).name
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", last).strip("-_")[:80] or "imported"
        made, count = name, 1
        while made in self._catalog.sources:
            count += 1
            made = f"{name}-{count}"
        return made

    def _proposal(
        self, head: FoundHead, config: HeadConfig, sizes: set[int], source_name: str
    ) -> HeadProposal:
        source, target = self._alias_of[head.source], self._alias_of[head.target]
        values: dict[str, Any] = {"source": source, "target": target, "run": head.run, "from": source_name}
        entry = Head.model_construct(source=source, target=target, run=head.run, from_=source_name)
        if entry.name != head.folder:
            values["path"] = head.folder
        status, detail = self._standing(head, entry, config, sizes)
        if status == "new" and self._training and (summary := self._summary(head)):
            values["training"] = summary
        return HeadProposal(
            name=entry.name,
            folder=head.folder,
            status=status,
            detail=detail,
            pickled=head.pickled,
            hidden_size=config.hidden_size,
            layers=config.num_layers,
            values=values,
        )

    def _standing(
        self, head: FoundHead, entry: Head, config: HeadConfig, sizes: set[int]
    ) -> tuple[HeadStatus, str]:
        problem = self._misfit(head, entry, config, sizes)
        if problem:
            return "misfit", problem
        known = self._known.get(head_key(entry))
        if known is None:
            return "new", f"hidden size {config.hidden_size}, {config.num_layers} blocks"
        if self._holds(known, head.folder):
            return "known", f"in the catalog, from {known.from_}"
        return "taken", f"the catalog has a head of this name from {known.from_}, folder {known.folder}"

    def _holds(self, known: Head, folder: str) -> bool:
        """Whether a catalog's head is the one in this folder of the collection."""
        if self._is_here(self._catalog.sources[known.from_]) and known.folder == folder:
            return True
        there = None if self._origin.folder is None else head_place(self._catalog, known).folder
        if there is None or self._origin.folder is None:
            return False
        return os.path.realpath(there) == os.path.realpath(self._origin.folder / folder)

    def _misfit(self, head: FoundHead, entry: Head, config: HeadConfig, sizes: set[int]) -> str:
        if entry.source == entry.target:
            return f"{head.source} and {head.target} are one model, {entry.source}"
        model = self._catalog.models.get(entry.source)
        if model is None and len(sizes) > 1:
            told = ", ".join(map(str, sorted(sizes)))
            return f"hidden_size: the heads of {head.source} do not agree: {told}"
        if model is not None and model.hidden_size not in (None, config.hidden_size):
            return f"hidden_size: {CONFIG} says {config.hidden_size}, {model.alias} has {model.hidden_size}"
        named = parse_run_name(head.run).layers
        if named not in (None, config.num_layers):
            return f"num_layers: {CONFIG} says {config.num_layers}, the run's name {named}"
        return ""

    def _summary(self, head: FoundHead) -> dict[str, Any]:
        from registry.training import parse_trainer_state  # noqa: PLC0415 - only when asked for

        if TRAINER_STATE not in head.files:
            return {}
        name = f"{head.folder}/{TRAINER_STATE}"
        try:
            record = parse_trainer_state(self._collection.read(name), file=name)
        except CheckpointError as error:
            self._odd.append(
                OddFolder(folder=head.folder, reason=f"{TRAINER_STATE}: {'; '.join(error.problems[:2])}")
            )
            return {}
        return record.summary().model_dump(exclude_none=True)
