"""All times of a chain, taken in several passes.

A machine that others use is slow for a minute and fast for the next. So nothing is timed once and for all: each pass
times everything, what a round takes besides is told by the forwards of the same pass, and the middle one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import median

from heads.cascade import Cascade
from heads.edge import AcceptanceHead
from heads.engines.captured import CapturedLevel
from heads.engines.choice import head_for, level_for
from heads.measuring.chains import chain_seconds
from heads.measuring.edges import LENGTH, RoundSeconds, question_seconds, round_seconds
from heads.measuring.effort import Effort
from heads.measuring.forwards import (
    SHORT,
    WAYS,
    RunLevel,
    forward_seconds,
    outside_forwards,
    roles_differ,
    times_of,
)
from heads.measuring.middle import middle_seconds, middle_times
from heads.measuring.steadiness import unsteady
from heads.measuring.steps import draft_steps, drafts_ahead, question_steps
from heads.measuring.traces import Heads, Places
from registry.planning.measured import edge_subject
from registry.planning.timing import ChainTimes, EdgeTimes, ForwardTimes


@dataclass
class _Model:
    """A model at one place of a chain: the levels that run it, by whether as the target, and each pass's times."""

    levels: dict[bool, RunLevel]
    passes: list[dict[bool, ForwardTimes]] = field(default_factory=list)

    @property
    def below(self) -> RunLevel:
        """What runs it below others."""
        return self.levels[False] if False in self.levels else self.levels[True]


@dataclass
class _Edge:
    """Two models, and each pass's times."""

    adviser: AcceptanceHead | None
    rounds: list[RoundSeconds] = field(default_factory=list)
    questions: list[dict[str, float]] = field(default_factory=list)
    ahead: list[dict[str, float]] = field(default_factory=list)


class Clock:
    """Times the models and the edges of a chain; its levels are its own, beside those that decode.

    Args:
        cascade: The chain.
        heads: Name and head of those pairs that have one.
        prompt: Token ids that texts begin with; what is timed hangs on none of them.
        effort: How often.
    """

    def __init__(self, cascade: Cascade, heads: Heads, prompt: Sequence[int], effort: Effort) -> None:
        self._cascade, self._heads, self._prompt, self._effort = cascade, heads, prompt, effort
        self._top = len(cascade.models) - 1
        self._models = [_Model(self._levels(place)) for place in range(len(cascade.models))]
        self._chain: list[float] = []
        self._edges = {
            places: _Edge(head_for(heads[places][1], cascade.engines[places[0]]) if places in heads else None)
            for places in combinations(range(len(cascade.models)), 2)
        }

    @property
    def steps(self) -> int:
        """How many there are in all passes."""
        return self._effort.passes * (len(self._models) + len(self._edges) + self._long)

    def run(self, told: Callable[[str], None] = lambda _: None) -> None:
        """All passes; `told` hears of each step."""
        try:
            for _ in range(self._effort.passes):
                for place, name in enumerate(self._cascade.names):
                    self._time_model(place)
                    told(name)
                for places in self._edges:
                    self._time_edge(places)
                    told(" and ".join(self._cascade.names[place] for place in places))
                if self._long:
                    self._time_chain()
                    told("all of them")
        finally:
            for model in self._models:
                for level in model.levels.values():
                    if isinstance(level, CapturedLevel):
                        level.forget()

    def forwards(self, place: int) -> dict[bool, ForwardTimes]:
        """A model's times below a target (False) and as one (True): the middle of the passes."""
        return {
            role: middle_times([one[role] for one in self._models[place].passes]) for role in (False, True)
        }

    def rounds(self, places: Places) -> EdgeTimes:
        """An edge's times: the middle of the passes."""
        edge = self._edges[places]
        return EdgeTimes(
            source=self._cascade.names[places[0]],
            target=self._cascade.names[places[1]],
            head_name=self._heads[places][0] if places in self._heads else None,
            questions=middle_seconds(edge.questions) if edge.questions else {},
            ahead=middle_seconds(edge.ahead) if edge.ahead else {},
            verify=middle_seconds([one.verify for one in edge.rounds]),
            step=median(one.step for one in edge.rounds),
        )

    @property
    def chain(self) -> ChainTimes | None:
        """The whole chain's: the middle of the passes; None of fewer than three models."""
        if not self._long:
            return None
        return ChainTimes(models=self._cascade.names, round=median(self._chain))

    @property
    def unsteady(self) -> list[str]:
        """Models and edges whose passes tell so different times that the middle one tells little."""
        names = self._cascade.names
        found = [
            name
            for name, model in zip(names, self._models, strict=True)
            if unsteady([one[False].seconds(1, SHORT) for one in model.passes])
        ]
        for places, edge in self._edges.items():
            below, above = (self.forwards(place) for place in places)
            round_ = LENGTH * below[False].seconds(1, SHORT) + above[True].seconds(LENGTH + 1, SHORT)
            if any(unsteady([one.verify[way] for one in edge.rounds], of=round_) for way in WAYS):
                found.append(edge_subject(*(names[place] for place in places)))
        return found

    @property
    def _long(self) -> bool:
        """Whether there is a chain that no edge tells of."""
        return len(self._models) > 2

    @property
    def edges(self) -> list[Places]:
        """Every pair of models, smaller ones first."""
        return list(self._edges)

    def _levels(self, place: int) -> dict[bool, RunLevel]:
        """In its role in this chain; in the other one too, where it is run otherwise there."""
        mine = place == self._top
        level = self._level(place, top=mine)
        return {mine: level} | ({not mine: self._level(place, top=not mine)} if roles_differ(level) else {})

    def _level(self, place: int, *, top: bool) -> RunLevel:
        cascade = self._cascade
        return level_for(
            cascade.models[place], name=cascade.names[place], engine=cascade.engines[place], top=top
        )

    def _time_model(self, place: int) -> None:
        model, cascade = self._models[place], self._cascade
        found = {
            role: ForwardTimes(
                model=cascade.names[place],
                as_target=role,
                times=times_of(forward_seconds(level, self._effort)),
                outside={},
            )
            for role, level in model.levels.items()
        }
        own = found[place == self._top]
        ahead = drafts_ahead(cascade, place)
        outside = outside_forwards(
            cascade, place, self._prompt, effort=self._effort, times=own if ahead else None
        )
        steps = draft_steps(model.below, vocab_size=cascade.vocab_size, effort=self._effort) if ahead else {}
        outside, steps = (
            {way: max(0.0, seconds) for way, seconds in one.items()} for one in (outside, steps)
        )
        beside = {False: {"outside": outside, "ahead": steps}, True: {"outside": outside}}
        model.passes.append(
            {
                role: found.get(role, own).model_copy(update={"as_target": role, **beside[role]})
                for role in (False, True)
            }
        )

    def _time_chain(self) -> None:
        self._chain.append(
            chain_seconds(
                self._cascade,
                self._prompt,
                times=[one.passes[-1][place == self._top] for place, one in enumerate(self._models)],
                rounds=[self._edges[place, place + 1].rounds[-1] for place in range(self._top)],
                effort=self._effort,
            )
        )

    def _time_edge(self, places: Places) -> None:
        edge, cascade = self._edges[places], self._cascade
        times = [self._models[place].passes[-1][place == self._top] for place in places]
        edge.rounds.append(round_seconds(cascade, places, self._prompt, times=times, effort=self._effort))
        if edge.adviser is not None:
            level, size = self._models[places[0]].below, cascade.vocab_size
            edge.questions.append(question_seconds(edge.adviser, level, vocab_size=size, effort=self._effort))
            if drafts_ahead(cascade, places[0]):
                edge.ahead.append(question_steps(level, edge.adviser, vocab_size=size, effort=self._effort))
