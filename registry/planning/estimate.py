"""How fast one chain is going to be, from what was measured of it, and from what must be assumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from registry.planning.assumed import AssumedTimes, assumed_acceptance
from registry.planning.choosing import Choice, best_lengths
from registry.planning.costs import LONGEST_QUERY, ChainCosts
from registry.planning.expected import best_fixed, seconds_per_token
from registry.planning.fitted import fitted, item_bytes
from registry.planning.law import Law
from registry.planning.lengths import DraftLengths
from registry.planning.measured import Measured, edge_subject
from registry.planning.replay import Replay
from registry.planning.timing import EdgeTimes, ForwardTime, ForwardTimes
from registry.planning.trace import EdgeTrace
from registry.records import Model

Basis = Literal["measured", "recorded", "assumed"]
Known = tuple[float, Basis]
Recorded = Callable[[str], float | None]
"""Of a head, by its name, the share of drafted tokens that its own evaluation says is accepted at temperature 1."""

MIDDLE: Final = 128  # positions in the cache, where nobody says
BESIDE_WEIGHTS: Final = 1.1  # caches and the rest: `decode` counts them exactly before it loads


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One chain's prediction.

    `forwards` says of each model, `rounds` and `acceptance` of each edge, where the numbers come from; `rounds` are
    what the edge takes beside forwards. `fixed_seconds_per_token` is that of the best fixed lengths. `replayed` tells
    whether the lengths were tried along measured texts, round by round. `unheard` are heads in whose place another run
    of the edge was heard there: they are planned with fixed lengths.
    """

    models: tuple[str, ...]
    heads: tuple[str, ...]
    seconds_per_token: float
    fixed_seconds_per_token: float
    lengths: DraftLengths
    forwards: Mapping[str, Basis]
    rounds: Mapping[str, Basis]
    acceptance: Mapping[str, Known]
    replayed: bool
    unheard: tuple[str, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether nothing is assumed, and no other head was heard in the place of one."""
        shares = [basis for _, basis in self.acceptance.values()]
        every = {*self.forwards.values(), *self.rounds.values(), *shares}
        return every == {"measured"} and (self.replayed or not self.heads) and not self.unheard


@dataclass(frozen=True, kw_only=True)
class _Priced:
    """What a chain's steps take, and where that comes from: of each model its forwards, of each edge its rounds."""

    costs: ChainCosts
    forwards: dict[str, Basis]
    rounds: dict[str, Basis]

    @property
    def measured(self) -> bool:
        return "assumed" not in {*self.forwards.values(), *self.rounds.values()}


class Estimator:
    """What is known of one setup and one law, and what is assumed for the rest.

    Args:
        models: The catalog's, with sizes as far as they are known.
        measured: Of the setup.
        law: How texts are drawn.
        dtype: Of models that were not measured; that of the setup, else float32 on a CPU and bfloat16 elsewhere, when
            None.
        cached: Positions in the cache, half way through a text, that forwards are looked up at.
        recorded: Tells what evaluations say.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        measured: Measured,
        law: Law,
        *,
        dtype: str | None = None,
        cached: int = MIDDLE,
        recorded: Recorded = lambda _: None,
    ) -> None:
        self._models, self._measured, self._law, self._recorded = models, measured, law, recorded
        self._cached = cached
        self._kind = "greedy" if law.greedy else "sampled"
        self._item_bytes = item_bytes(dtype, measured)
        self._times: dict[tuple[str, bool], tuple[ForwardTimes, Basis] | None] = {}
        self._fitted = fitted(models, measured, cached=cached)

    @property
    def assumed_times(self) -> AssumedTimes:
        """By which the forwards of models that were not measured are told."""
        return self._fitted.times

    def weight_bytes(self, model: str) -> int | None:
        """Of a model's weights; None where nobody says how many there are."""
        count = self._models[model].parameters
        return None if count is None else count * self._item_bytes

    def memory_bytes(self, models: Sequence[str]) -> int | None:
        """Of the models' weights, and a tenth more; None where a size is not known."""
        sizes = [self.weight_bytes(model) for model in models]
        known = [size for size in sizes if size is not None]
        return None if len(known) < len(sizes) else round(BESIDE_WEIGHTS * sum(known))

    def seconds(self, model: str, *, as_target: bool) -> float | None:
        """One token through one model; None where it was not measured and its size is not known."""
        found = self._times_of(model, as_target=as_target)
        if found is None:
            return None
        times, _ = found
        beside = times.outside[self._kind] if as_target else times.drawing(self._kind)
        return times.seconds(1, self._cached) + beside

    def rough_acceptance(self, source: str, target: str) -> float | None:
        """Of an edge, without looking at files; None where neither sizes nor times are known."""
        trace = self._measured.trace(source, target, target, self._law)
        if trace is not None:
            return min(trace.acceptance, 0.999)
        sizes: list[float | None] = [self._models[one].parameters for one in (source, target)]
        if None in sizes:  # of weights that nobody counts, the time it takes to read them still tells
            sizes = [self.seconds(one, as_target=False) for one in (source, target)]
        known = [one for one in sizes if one]
        return assumed_acceptance(*known) if len(known) == 2 else None

    def knows(self, models: Sequence[str]) -> bool:
        """Whether a chain can be replayed: every model and every edge was measured."""
        last = len(models) - 1
        return self._measured.traces(models, self._law) is not None and all(
            self._measured.forwards(model, as_target=place == last) is not None
            for place, model in enumerate(models)
        )

    def estimate(self, models: Sequence[str], heads: Sequence[str]) -> Estimate | None:
        """A chain with the lengths that suit it best; None where a model's size is not known.

        Args:
            models: Smallest first.
            heads: One per edge, by name.
        """
        found = self._costs(models)
        if found is None:
            return None
        costs = found.costs
        traces = self._traces(models, heads)
        acceptance = self._acceptance(models, heads, traces)
        if acceptance is None:
            return None
        fixed = best_fixed(costs, [share for share, _ in acceptance.values()])
        lengths, seconds, of_fixed = fixed.lengths, fixed.seconds_per_token, fixed.seconds_per_token
        replayed = bool(traces)
        if traces:
            chosen = best_lengths(self.replay_of(costs, traces), fixed.lengths)
            lengths, seconds = chosen.best.lengths, chosen.best.seconds_per_token
            of_fixed = chosen.fixed.seconds_per_token
        return Estimate(
            models=tuple(models),
            heads=tuple(heads),
            seconds_per_token=seconds,
            fixed_seconds_per_token=of_fixed,
            lengths=lengths,
            forwards=found.forwards,
            rounds=found.rounds,
            acceptance=acceptance,
            replayed=replayed,
            unheard=self._unheard(models, heads),
        )

    def tried(self, models: Sequence[str], heads: Sequence[str]) -> tuple[Choice, ...]:
        """Lengths of a measured chain that were played along its texts, the fastest first; none where it was not."""
        found, traces = self._costs(models), self._traces(models, heads)
        if found is None or not traces or not found.measured:
            return ()
        first = best_fixed(found.costs, [trace.acceptance for trace in traces])
        return best_lengths(self.replay_of(found.costs, traces), first.lengths).tried

    def played(self, models: Sequence[str], heads: Sequence[str], lengths: DraftLengths) -> Choice | None:
        """A measured chain with given lengths, along its texts; None where anything of it was not measured.

        Args:
            models: Smallest first; two at least.
            heads: One per edge, by name; '' for none.
            lengths: One per edge.
        """
        found, traces = self._costs(models), self._traces(models, heads)
        if found is None or not traces or not found.measured:
            return None
        return Choice(lengths=lengths, replayed=self.replay_of(found.costs, traces).run(lengths))

    def speed(
        self,
        models: Sequence[str],
        heads: Sequence[str],
        lengths: DraftLengths,
        *,
        prompt_tokens: float,
        new_tokens: int,
    ) -> float | None:
        """Tokens per second over a whole text, its prompt read too; None where anything was not measured."""
        found = self._costs(models)
        if found is None or not found.measured:
            return None
        costs = found.costs
        if len(models) == 1:
            per_token = seconds_per_token(costs, (), ())
        else:
            choice = self.played(models, heads, lengths)
            if choice is None:
                return None
            per_token = choice.seconds_per_token
        return new_tokens / (new_tokens * per_token + prompt_tokens * sum(costs.prompt))

    def replay_of(self, costs: ChainCosts, traces: Sequence[EdgeTrace]) -> Replay:
        """The chain along its texts."""
        setup = self._measured.setup
        if setup is None or setup.device == "cpu":
            return Replay(costs, traces)
        return Replay(costs, traces, ahead=True, early=setup.engine != "eager")

    def _times_of(self, model: str, *, as_target: bool) -> tuple[ForwardTimes, Basis] | None:
        place = (model, as_target)
        if place not in self._times:
            known = self._measured.forwards(model, as_target=as_target)
            size = self.weight_bytes(model)
            if known is not None:
                self._times[place] = known, "measured"
            elif size is not None:
                self._times[place] = self._by_size(model, size), "assumed"
            else:
                self._times[place] = None
        return self._times[place]

    def _costs(self, models: Sequence[str]) -> _Priced | None:
        found = [
            self._times_of(model, as_target=place == len(models) - 1) for place, model in enumerate(models)
        ]
        known = [one for one in found if one is not None]
        if len(known) < len(models):
            return None
        edges = list(pairwise(models))
        rounds = [self._measured.rounds(source, target) for source, target in edges]
        costs = ChainCosts.measured(
            [times for times, _ in known],
            [
                one or EdgeTimes(source=source, target=target, verify=self._fitted.beside)
                for (source, target), one in zip(edges, rounds, strict=True)
            ],
            greedy=self._law.greedy,
            cached=self._cached,
            chain=self._measured.chain(models),
        )
        return _Priced(
            costs=costs,
            forwards={model: basis for model, (_, basis) in zip(models, known, strict=True)},
            rounds={
                edge_subject(*edge): "assumed" if one is None else "measured"
                for edge, one in zip(edges, rounds, strict=True)
            },
        )

    def _traces(self, models: Sequence[str], heads: Sequence[str]) -> list[EdgeTrace]:
        """The chain's traces; of another head's answers nothing is known."""
        if len(models) == 1:
            return []
        found = self._measured.traces(models, self._law, heads)
        if found is None:
            return []
        return [
            trace if trace.head_name == head else trace.without_head()
            for trace, head in zip(found, heads, strict=True)
        ]

    def _unheard(self, models: Sequence[str], heads: Sequence[str]) -> tuple[str, ...]:
        """Heads of a chain whose traces have the answers of another one."""
        found = (self._measured.traces(models, self._law, heads) or ()) if heads else ()
        return tuple(
            head
            for head, trace in zip(heads, found, strict=False)
            if trace.head_name is not None and trace.head_name != head
        )

    def _acceptance(
        self, models: Sequence[str], heads: Sequence[str], traces: Sequence[EdgeTrace]
    ) -> dict[str, Known] | None:
        """Of each edge, with where it comes from."""
        found: dict[str, Known] = {}
        for place, ((source, target), head) in enumerate(zip(pairwise(models), heads, strict=True)):
            known = self._one_acceptance(source, target, head, traces[place] if traces else None)
            if known is None:
                return None
            found[edge_subject(source, target)] = known
        return found

    def _one_acceptance(self, source: str, target: str, head: str, trace: EdgeTrace | None) -> Known | None:
        trace = trace or self._measured.trace(source, target, target, self._law)
        if trace is not None:
            return trace.acceptance, "measured"
        recorded = self._recorded(head)
        if recorded is not None:
            return recorded, "recorded"
        rough = self.rough_acceptance(source, target)
        return None if rough is None else (rough, "assumed")

    def _by_size(self, model: str, size_bytes: int) -> ForwardTimes:
        """Forwards of a model that was not measured."""
        times = tuple(
            ForwardTime(query=query, cached=MIDDLE, seconds=self.assumed_times.seconds(size_bytes, query))
            for query in (1, LONGEST_QUERY)
        )
        return ForwardTimes(model=model, times=times, outside=self._fitted.beside)
