"""Everything that is measured of a chain, step by step; each result is handed over as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from heads.bench.encoded import encoded
from heads.bench.prompts import BenchPrompt
from heads.bench.provenance import machine
from heads.cascade import Cascade
from heads.measuring.chains import drafted
from heads.measuring.clock import Clock
from heads.measuring.edges import LENGTH, LENGTHS
from heads.measuring.effort import QUICK, USUAL, Effort
from heads.measuring.loading import LoadedChain, load_to_measure
from heads.measuring.setting import setup_of
from heads.measuring.texts import target_texts
from heads.measuring.traces import edge_traces
from registry.planning.fingerprint import fingerprint
from registry.planning.law import Law
from registry.planning.measured import chain_subject, edge_subject, target_subject, trace_subject
from registry.planning.measurement import Kind, Measurement
from registry.records import Record

if TYPE_CHECKING:
    from registry.pipeline import Pipeline

BOTH_LAWS: Final = (Law(), Law(temperature=1.0))
SEED: Final = 0
Bar = Callable[[int, str], AbstractContextManager[Callable[[str], None]]]
Kept = Callable[[list[Measurement]], None]


def _silent(_total: int, _what: str) -> AbstractContextManager[Callable[[str], None]]:
    return nullcontext(lambda _: None)


def measure(
    pipeline: Pipeline,
    *,
    laws: Sequence[Law] = BOTH_LAWS,
    prompts: Sequence[BenchPrompt],
    max_new_tokens: int = 96,
    device: str | None = None,
    dtype: str | None = None,
    engine: str | None = None,
    effort: Effort | None = None,
    bar: Bar = _silent,
    kept: Kept = lambda _: None,
    said: Callable[[str], None] = lambda _: None,
) -> list[Measurement]:
    """Load a chain and measure its forwards, what its edges' rounds take besides, and its traces.

    Every pair of its models counts as an edge, those that skip some too: all chains of these models can then be told
    from it. One model has forwards only.

    Args:
        pipeline: The models, smallest first; see `load_to_measure` for the heads.
        laws: By which texts are drawn.
        prompts: What texts begin with.
        max_new_tokens: Of each text.
        device, dtype, engine: As for `Pipeline.load`.
        effort: How often things are timed.
        bar: Opens a progress bar of so many steps, called so.
        kept: Gets the measurements of each step as it is done: a run that is broken off leaves what it has. Times come
            last, each of several passes.
        said: Told of what could not be measured.

    Raises:
        SpecregError: the chain cannot be loaded, or a prompt and its text are longer than a model was made for.
    """
    loaded = load_to_measure(pipeline, device=device, dtype=dtype, engine=engine, said=said)
    run = MeasuringRun(pipeline, loaded, prompts, max_new_tokens, effort or USUAL, bar, kept, said)
    return run.all(laws)


@dataclass
class MeasuringRun:
    """A loaded chain in the course of being measured."""

    pipeline: Pipeline
    loaded: LoadedChain
    prompts: Sequence[BenchPrompt]
    max_new_tokens: int
    effort: Effort
    bar: Bar
    kept: Kept
    said: Callable[[str], None]
    found: list[Measurement] = field(default_factory=list)

    def __post_init__(self) -> None:
        cascade = self.cascade
        self._setup = setup_of(cascade)
        self._facts = machine(cascade.models[-1].device)
        self._ids = encoded(self.prompts, cascade, max_new_tokens=self.max_new_tokens)

    @property
    def cascade(self) -> Cascade:
        """Its models."""
        return self.loaded.cascade

    def all(self, laws: Sequence[Law]) -> list[Measurement]:
        """Traces, which hang on no clock; then forwards and rounds, in passes over all of them."""
        self._warm_up()
        if len(self.cascade.models) > 1:
            with self.bar(2 * len(laws) * len(self._ids), "reading texts") as told:
                for law in laws:
                    self._traces(law, partial(told, law.key))
        clock = Clock(self.cascade, self.loaded.heads, min(self._ids, key=len), self.effort)
        with self.bar(clock.steps, "timing") as told:
            clock.run(told)
        self._keep_times(clock)
        if apart := clock.unsteady:
            quick = self.effort == QUICK
            self.said(
                f"The passes over {', '.join(apart)} differ by half and more: this machine has other work to do. "
                "Measure again with `specreg measure` when it is quiet"
                + (", or without --quick, which makes fewer passes." if quick else ".")
            )
        return self.found

    def _warm_up(self) -> None:
        """Every graph that a text or a round may need, recorded before anything is timed."""
        most = max([LENGTH, *LENGTHS, *drafted(len(self.cascade.heads))])
        if graphs := self.cascade.graphs_for(most):
            with self.bar(graphs, "recording") as told:
                longest = max(map(len, self._ids)) + self.max_new_tokens
                self.cascade.warm_up(longest, max_draft=most, told=partial(told, ""))

    def _keep_times(self, clock: Clock) -> None:
        for place, name in enumerate(self.cascade.names):
            found = clock.forwards(place)
            self._keep("forwards", {name: found[False], target_subject(name): found[True]}, models=[name])
        for places in clock.edges:
            edge = clock.rounds(places)
            names = [edge.source, edge.target]
            heads = [] if edge.head_name is None else [edge.head_name]
            self._keep("rounds", {edge_subject(edge.source, edge.target): edge}, models=names, heads=heads)
        if clock.chain is not None:
            names = list(clock.chain.models)
            self._keep("chain", {chain_subject(names): clock.chain}, models=names)

    def _traces(self, law: Law, told: Callable[[], None]) -> None:
        """All edges along the same texts."""
        texts = target_texts(
            self.cascade, self._ids, law, max_new_tokens=self.max_new_tokens, seed=SEED, told=told
        )
        traces = edge_traces(
            self.cascade, self.loaded.heads, texts, law, seed=SEED, said=self.said, told=told
        )
        for trace in traces:
            names = [trace.source, trace.target]
            self._keep(
                "trace",
                {trace_subject(trace.source, trace.target, trace.text_of, trace.head_name): trace},
                models=[*names, trace.text_of],
                heads=[] if trace.head_name is None else [trace.head_name],
                law=law.key,
            )

    def _keep(
        self,
        kind: Kind,
        records: Mapping[str, Record],
        *,
        models: Sequence[str],
        heads: Sequence[str] = (),
        law: str = "",
    ) -> None:
        """Hand over what one step found, by subject."""
        now = datetime.now(UTC)
        made = [
            Measurement(
                kind=kind,
                subject=subject,
                setup=self._setup,
                law=law,
                fingerprint=fingerprint(self.pipeline.shelf, models, heads),
                measured_at=now,
                document=record.model_dump(mode="json"),
                provenance=self._provenance(kind),
            )
            for subject, record in records.items()
        ]
        self.found += made
        self.kept(made)

    def _provenance(self, kind: Kind) -> dict[str, Any]:
        """The machine, and the texts or the effort that a kind rests on."""
        prompts = [one.name for one in self.prompts]
        rests_on: dict[str, Any] = (
            {"prompts": prompts, "max_new_tokens": self.max_new_tokens, "seed": SEED}
            if kind == "trace"
            else {"effort": asdict(self.effort), "prompt_tokens": min(map(len, self._ids))}
        )
        return {name: value for name, value in self._facts.items() if name != "measured_at"} | rests_on
