"""One benchmark, from a pipeline to its report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from heads.bench.encoded import digest_of
from heads.bench.loading import Said, load_for
from heads.bench.measuring import Journal, measure
from heads.bench.predicting import predictions
from heads.bench.prompts import BenchPrompt
from heads.bench.provenance import provenance
from heads.bench.report import report_of
from heads.bench.sweep import MOST_DRAFTED, advised_candidates, best_of, fixed_candidates, tries
from heads.bench.systems import PLAIN, CascadeSystem, Sampling, System, systems_of
from heads.cascade import Cascade
from heads.head import AcceptancePredictionHead
from heads.runtime import load_registered_head
from registry.chains import resolve
from registry.errors import NoChainError, NotInstalledError, UsageError
from registry.planning.fingerprint import fingerprint
from registry.planning.measurement import Measurement

if TYPE_CHECKING:
    from registry.pipeline import Pipeline

SWEPT_PROMPTS: Final = 3
Told = Callable[[str], None]
Bar = Callable[[int, str], AbstractContextManager[Told]]


def _silent(_total: int, _what: str) -> AbstractContextManager[Told]:
    return nullcontext(lambda _: None)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What is to be measured.

    prompts, sampling: The same for every system.
    modes: Which systems, by name; None is all. Plain decoding is always among them.
    repeats: How often each system sees each prompt.
    advised: Options of `generate` for the modes in which heads advise.
    journal: A file for what was measured, or None; to be removed once the report is kept.
    measurements: By which each system's speed is predicted; what they do not tell is not.
    bar: Opens a progress bar of so many steps, called so.
    said: Called with what the chain needs of memory before it is loaded; with None where that cannot be told.
    """

    prompts: Sequence[BenchPrompt]
    sampling: Sampling
    modes: Sequence[str] | None = None
    repeats: int = 3
    advised: dict[str, Any] = field(default_factory=dict)
    journal: Path | None = None
    measurements: Sequence[Measurement] = ()
    bar: Bar = _silent
    said: Said = lambda _: None

    def run(
        self,
        pipeline: Pipeline,
        *,
        device: str | None = None,
        dtype: str | None = None,
        engine: str | None = None,
    ) -> dict[str, Any]:
        """Load the chain, measure, and report.

        Raises:
            SpecregError: the chain cannot be loaded, a prompt has no room, a mode is unknown, or the journal is of
                another run.
        """
        cascade, ids = load_for(
            pipeline,
            self.prompts,
            max_new_tokens=self.sampling.max_new_tokens,
            max_draft=MOST_DRAFTED,
            device=device,
            dtype=dtype,
            engine=engine,
            said=self.said,
        )
        direct = _direct(pipeline, cascade)
        systems = self._wanted(systems_of(cascade, direct and direct[1], options=self.advised))
        facts = provenance(cascade)
        document: dict[str, Any] = {
            "models": list(pipeline.models),
            "heads": [head.name for head in pipeline.heads],
            "provenance": facts,
            "prompts": [{"name": one.name, "category": one.category} for one in self.prompts],
            "prompts_sha256": digest_of(ids),
            "sampling": vars(self.sampling),
            "repeats": self.repeats,
        }
        plan = document | {"modes": [system.mode for system in systems], "advised": self.advised}
        plan["provenance"] = {name: value for name, value in facts.items() if name != "measured_at"}
        plan["checkpoints"] = fingerprint(pipeline.shelf, pipeline.models, document["heads"])
        self._warmed_up(systems, max(map(len, ids)))
        with Journal(self.journal, plan) as journal:
            systems = self._swept(systems, ids, journal)
            with self.bar(len(systems) * len(ids) * self.repeats, "measuring") as told:
                measure(systems, ids, self.sampling, journal, repeats=self.repeats, told=told)
        facts |= {"engines": list(cascade.engines), "refusals": cascade.refusals}  # as recording has shown
        reports = report_of(systems, journal.rows, greedy=self.sampling.temperature == 0)
        foreseen = predictions(
            pipeline,
            systems,
            self.sampling,
            prompts=ids,
            measurements=self.measurements,
            direct=direct and direct[0],
        )
        document["systems"] = [
            one | {"predicted_tokens_per_second": foreseen[one["mode"]]} for one in reports
        ]
        return document

    def _warmed_up(self, systems: Sequence[System], longest: int) -> None:
        """Every graph that any system may need, recorded before anything is timed.

        Parts of a chain share the graphs of its models; those of heads each has for itself.
        """
        cascades = {id(one.cascade): one.cascade for one in systems if isinstance(one, CascadeSystem)}
        if graphs := sum(one.graphs_for(MOST_DRAFTED) for one in cascades.values()):
            with self.bar(graphs, "recording") as told:
                for one in cascades.values():
                    positions = longest + self.sampling.max_new_tokens
                    one.warm_up(positions, max_draft=MOST_DRAFTED, told=partial(told, ""))

    def _wanted(self, systems: Sequence[System]) -> list[System]:
        known = [system.mode for system in systems]
        for mode in self.modes or ():
            if mode not in known:
                raise UsageError(
                    f"{mode!r} is no way to decode this chain. Its modes are {', '.join(known)}."
                )
        wanted = set(known if self.modes is None else [PLAIN, *self.modes])
        return [system for system in systems if system.mode in wanted]

    def _swept(
        self, systems: Sequence[System], ids: Sequence[Sequence[int]], journal: Journal
    ) -> list[System]:
        """The systems, those whose settings are to be found with their best ones."""
        found: list[System] = []
        for system in systems:
            candidates = self._candidates(system)
            if not isinstance(system, CascadeSystem) or not candidates:
                found.append(system)
                continue
            known = journal.settings.get(system.mode)
            if known is None:
                with self.bar(tries(candidates), f"settings for {system.mode}") as told:
                    best = best_of(
                        system, candidates, ids[:SWEPT_PROMPTS], self.sampling, tried=partial(told, "")
                    )
                known = best.settings
                journal.settle(system.mode, known)
            found.append(CascadeSystem(mode=system.mode, cascade=system.cascade, settings=known))
        return found

    def _candidates(self, system: System) -> list[dict[str, Any]]:
        """What a system's mode says is to be tried."""
        edges = len(system.models) - 1
        if system.mode.endswith(":fixed"):
            return list(fixed_candidates(edges))
        if system.mode.endswith(":confidence"):
            return [system.settings | one for one in advised_candidates(edges)]
        return list(advised_candidates(edges)) if system.mode.endswith(":tuned") else []


def _direct(pipeline: Pipeline, cascade: Cascade) -> tuple[str, AcceptancePredictionHead] | None:
    """A head from the chain's first model to its last, where models are between them and it is here; with its name."""
    if len(cascade.models) < 3:
        return None
    shelf = pipeline.shelf
    try:
        chain = resolve(shelf.catalog, pipeline.models[0], pipeline.target, length=2)
        head = load_registered_head(shelf, chain.heads[0]).to(cascade.models[0].device)
        return chain.heads[0].name, head
    except (NoChainError, NotInstalledError):
        return None
