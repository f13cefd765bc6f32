"""Models as nodes, heads as directed edges. Finds paths; knows nothing of what fits together."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from registry.records import Catalog, Head

Cost: TypeAlias = tuple[int, ...]
"""What an edge costs: compared from the left, added part by part along a path."""

STEP_BUDGET = 1_000_000
"""Edges one search may look at. Simple paths of a given length are a hard problem in the worst case."""


def head_key(head: Head) -> tuple[str, str, str]:
    """The order among the heads that leave one model: target, run, source of the files."""
    return (head.target, head.run, head.from_)


class HeadGraph:
    """A directed graph of heads. Parallel runs are kept, cycles allowed; what it answers is sorted.

    The order in which models and heads are given never shows in an answer.
    """

    def __init__(self, models: Iterable[str], heads: Iterable[Head]) -> None:
        self._leaving: dict[str, list[Head]] = {alias: [] for alias in models}
        self._entering: dict[str, list[Head]] = {alias: [] for alias in self._leaving}
        for head in heads:
            for end in (head.source, head.target):
                self._leaving.setdefault(end, [])
                self._entering.setdefault(end, [])
            self._leaving[head.source].append(head)
            self._entering[head.target].append(head)
        self._distances_to: dict[str, dict[str, int]] = {}
        for neighbours in self._leaving.values():
            neighbours.sort(key=head_key)
        for neighbours in self._entering.values():
            neighbours.sort(key=lambda head: (head.source, head.run, head.from_))

    @classmethod
    def of(cls, catalog: Catalog) -> HeadGraph:
        """The graph of a whole catalog."""
        return cls(catalog.models, catalog.heads)

    @property
    def models(self) -> tuple[str, ...]:
        """Every model's alias, sorted."""
        return tuple(sorted(self._leaving))

    def leaving(self, model: str) -> Sequence[Head]:
        """Heads whose source is `model`, by target, then run."""
        return self._leaving.get(model, ())

    def between(self, source: str, target: str) -> tuple[Head, ...]:
        """The parallel runs of one edge, by run."""
        return tuple(head for head in self.leaving(source) if head.target == target)

    def distances_from(self, model: str) -> Mapping[str, int]:
        """How many heads the shortest way from `model` takes, for every model it reaches (itself: 0)."""
        return _distances(model, self._leaving, lambda head: head.target)

    def distances_to(self, model: str) -> Mapping[str, int]:
        """How many heads the shortest way to `model` takes, for every model that reaches it (itself: 0)."""
        known = self._distances_to.get(model)
        if known is None:
            known = _distances(model, self._entering, lambda head: head.source)
            self._distances_to[model] = known
        return known

    def reachable_from(self, model: str) -> tuple[str, ...]:
        """Models at the end of some path from `model`, nearest first; `model` itself is not among them."""
        return _nearest_first(self.distances_from(model))

    def reaching(self, model: str) -> tuple[str, ...]:
        """Models from which some path leads to `model`, nearest first; `model` itself is not among them."""
        return _nearest_first(self.distances_to(model))

    def paths(self, source: str, target: str, *, models: int = 6) -> Iterator[tuple[Head, ...]]:
        """Every simple path of 2 to `models` models, the shortest first, then by names. Lazy.

        Stops early, without a word, where a search would take more than `STEP_BUDGET` steps; use
        `PathSearch` to be told.
        """
        for count in range(2, models + 1):
            yield from PathSearch(self, source, target, models=count)


class PathSearch:
    """The simple paths of exactly `models` models from source to target, the cheapest first. Lazy.

    Best-first over partial paths. The estimate of what remains is the cheapest *walk* of the exact number
    of edges (repeats allowed), so it never exceeds the truth and a branch without a future is never
    entered. Equal costs come in the order of their names: (target, run) head by head.

    Args:
        cost: What a head costs; every cost has the same number of parts, which may be negative.
        through: Models that the path has to visit, in any order.
        needs: For each of these, at least one head of the path has to satisfy it.

    Attributes:
        cut_short: True once the search gave up at `budget` edges looked at: paths may be missing.
    """

    def __init__(
        self,
        graph: HeadGraph,
        source: str,
        target: str,
        *,
        models: int,
        cost: Callable[[Head], Cost] = lambda _: (),
        through: Iterable[str] = (),
        needs: Sequence[Callable[[Head], bool]] = (),
        budget: int = STEP_BUDGET,
    ) -> None:
        self.cut_short = False
        self._graph, self._source, self._target = graph, source, target
        self._edges = models - 1
        self._cost = cost
        wanted = sorted(set(through) - {source, target})
        self._bit = {name: 1 << place for place, name in enumerate(wanted)}
        self._needs = [(1 << place, need) for place, need in enumerate(needs, start=len(wanted))]
        self._steps_left = budget
        self._distance = graph.distances_to(target)
        self._bounds: dict[tuple[str, int, int], Cost | None] = {}

    def __iter__(self) -> Iterator[tuple[Head, ...]]:
        """Yield paths as tuples of heads."""
        if self._edges < 1 or self._source == self._target:
            return
        try:
            yield from self._best_first()
        except _OutOfStepsError:
            self.cut_short = True

    def _best_first(self) -> Iterator[tuple[Head, ...]]:
        owed = (1 << (len(self._bit) + len(self._needs))) - 1
        bound = self._bound(self._source, self._edges, owed)
        if bound is None:
            return
        order = itertools.count()
        # (estimate of the whole, names so far, tie-break, cost so far, heads so far, what is still owed)
        start: _Partial = (bound, (), next(order), (), (), owed)
        waiting = [start]
        while waiting:
            _, names, _, spent, heads, owed = heapq.heappop(waiting)
            if len(heads) == self._edges:
                yield heads
                continue
            visited = {self._source, *(head.target for head in heads)}
            here = heads[-1].target if heads else self._source
            for head, left, rest in self._steps(here, self._edges - len(heads), owed):
                if head.target not in visited:
                    so_far = _added(spent, self._cost(head))
                    key = (*names, head_key(head))
                    entry = (_added(so_far, rest), key, next(order), so_far, (*heads, head), left)
                    heapq.heappush(waiting, entry)

    def _steps(self, here: str, edges: int, owed: int) -> Iterator[tuple[Head, int, Cost]]:
        """Heads worth taking with `edges` edges to go: (head, what is owed after it, cost of the rest)."""
        for head in self._graph.leaving(here):
            self._steps_left -= 1
            if self._steps_left < 0:
                raise _OutOfStepsError
            if self._distance.get(head.target, edges) > edges - 1 or head.target in (here, self._source):
                continue
            if head.target == self._target and edges > 1:
                continue
            left = self._owed_after(head, owed)
            rest = self._bound(head.target, edges - 1, left)
            if rest is not None:
                yield head, left, rest

    def _owed_after(self, head: Head, owed: int) -> int:
        """One bit per model still to visit and per need still unmet."""
        if not owed:
            return 0
        left = owed & ~self._bit.get(head.target, 0)
        for bit, need in self._needs:
            if left & bit and need(head):
                left &= ~bit
        return left

    def _bound(self, here: str, edges: int, owed: int) -> Cost | None:
        """The least cost of a walk of `edges` edges that pays what is owed; None where there is none."""
        if edges == 0:
            return () if here == self._target and not owed else None
        place = (here, edges, owed)
        if place not in self._bounds:
            walks = (_added(self._cost(head), rest) for head, _, rest in self._steps(here, edges, owed))
            self._bounds[place] = min(walks, default=None)
        return self._bounds[place]


_Names: TypeAlias = tuple[tuple[str, str, str], ...]
_Partial: TypeAlias = tuple[Cost, _Names, int, Cost, tuple[Head, ...], int]


class _OutOfStepsError(Exception):
    """The search has looked at as many edges as it may."""


def _added(left: Cost, right: Cost) -> Cost:
    """Part by part; `()` is nothing at all."""
    if not left:
        return right
    if not right:
        return left
    return tuple(a + b for a, b in zip(left, right, strict=True))


def _distances(
    start: str, edges: Mapping[str, Sequence[Head]], other_end: Callable[[Head], str]
) -> dict[str, int]:
    found = {start: 0}
    waiting = deque([start])
    while waiting:
        here = waiting.popleft()
        for head in edges.get(here, ()):
            there = other_end(head)
            if there not in found:
                found[there] = found[here] + 1
                waiting.append(there)
    return found


def _nearest_first(distances: Mapping[str, int]) -> tuple[str, ...]:
    ranked = sorted((distance, name) for name, distance in distances.items() if distance > 0)
    return tuple(name for _, name in ranked)
