"""Why there is no chain, in words: what was asked, what there is, what to do next."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from registry.errors import NoChainError, UsageError
from registry.graph import HeadGraph, PathSearch
from registry.records import Head

MOST_MODELS = 6
"""Models in a chain unless a length is asked for."""

LONGEST = 12
"""The largest length that may be asked for."""

_NAMED = 8
_PROBED = 16
_COUNTS = range(2, MOST_MODELS + 1)
_LIST = "`specreg list` shows every model and head."


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What was asked for, in aliases.

    Raises:
        UsageError: `length` is out of range.
    """

    source: str
    target: str
    via: tuple[str, ...] = ()
    run: str | None = None
    length: int | None = None

    def __post_init__(self) -> None:
        if self.length is not None and not 2 <= self.length <= LONGEST:
            raise UsageError(
                f"--length counts the models of a chain: expected 2 to {LONGEST}, got {self.length}."
            )

    @property
    def lengths(self) -> tuple[int, ...]:
        """Numbers of models to look at, the preferred first."""
        if self.length is not None:
            return (self.length,)
        return (3, 2, *range(4, MOST_MODELS + 1))

    @property
    def needs(self) -> list[Callable[[Head], bool]]:
        """What at least one head of the chain has to satisfy, each."""
        return [] if self.run is None else [_is_run(self.run)]

    @property
    def options(self) -> str:
        """The narrowing options as they are typed; empty where there are none."""
        parts = [] if self.length is None else [f"--length {self.length}"]
        parts += [f"--via {name}" for name in self.via]
        parts += [] if self.run is None else [f"--run {self.run}"]
        return " ".join(parts)


def has_run(head: Head, run: str) -> bool:
    """Whether the head is of that run; names are compared without regard to case."""
    return head.run.lower() == run.lower()


def no_chain(
    wish: Wish, graph: HeadGraph, refusals: Sequence[object], *, untold: bool, cut_short: bool
) -> NoChainError:
    """Build the error for a wish that no chain of `graph` meets.

    Args:
        refusals: One per candidate that was refused.
        untold: Further candidates were refused than `refusals` lists.
        cut_short: The search gave up before it had seen every path.
    """
    source, target = wish.source, wish.target
    if source == target:
        reason, message = "no path", _same(source)
    elif target not in graph.distances_from(source):
        reason, message = _apart(graph, source, target)
    elif refusals:
        reason, message = "refused", _refused(wish, refusals, untold)
    else:
        reason, message = "narrowed", _narrowed(wish, graph)
    if cut_short:
        message += " The search gave up before it had seen every path; --via or --length makes it shorter."
    return NoChainError(
        message,
        source=source,
        target=target,
        reason=reason,
        reaches=graph.reachable_from(source),
        reached_from=graph.reaching(target),
        refusals=refusals,
    )


def _same(name: str) -> str:
    return (
        f"No chain leads from {name} to itself: expected two models, got one twice. "
        f"`specreg decode {name} {name}` runs it alone."
    )


def _apart(graph: HeadGraph, source: str, target: str) -> tuple[str, str]:
    if source in graph.distances_from(target):
        return "other way round", (
            f"No chain leads from {source} to {target}, only the other way round, and heads point one way. "
            f"Try `specreg chain {target} {source}`."
        )
    reaches = _named(graph.reachable_from(source), "nothing")
    reached_from = _named(graph.reaching(target), "nothing")
    return "no path", (
        f"No chain of heads leads from {source} to {target}: {source} reaches {reaches}; "
        f"{target} is reached from {reached_from}. {_LIST}"
    )


def _refused(wish: Wish, refusals: Sequence[object], untold: bool) -> str:
    count = f"more than {len(refusals)}" if untold else str(len(refusals))
    plural = count != "1"
    return (
        f"No chain from {wish.source} to {wish.target} fits: {count} "
        f"{'candidates were' if plural else 'candidate was'} refused. "
        f"{'The first: ' if plural else ''}{refusals[0]}. "
        f"`specreg chain {wish.source} {wish.target} --all` shows every finding."
    )


def _narrowed(wish: Wish, graph: HeadGraph) -> str:
    source, target = wish.source, wish.target
    shortest = graph.distances_from(source)[target] + 1
    if wish.length is None and shortest > MOST_MODELS:
        way = f"try --length {shortest}" if shortest <= LONGEST else f"{LONGEST} can be asked for at most"
        return (
            f"No chain from {source} to {target} has {MOST_MODELS} models or fewer; "
            f"the shortest has {shortest}: {way}."
        )
    there_is = []
    if wish.length is not None:
        lengths = [str(count) for count in _COUNTS if _exists(graph, wish, count)]
        there_is.append(
            f"Lengths of the chains between them: {_named(lengths, f'none up to {MOST_MODELS}')}."
        )
    if wish.via:
        there_is.append(f"Models between them: {_named(_on_the_way(graph, wish), 'none')}.")
    if wish.run is not None:
        there_is.append(
            f"Training runs of the heads between them: {_named(_runs_on_the_way(graph, wish), 'none')}."
        )
    asked = f" with {wish.options}" if wish.options else ""
    return " ".join(
        [f"No chain leads from {source} to {target}{asked}.", *there_is, "Change an option, or leave it out."]
    )


def _exists(
    graph: HeadGraph,
    wish: Wish,
    count: int,
    *,
    through: Iterable[str] = (),
    needs: Sequence[Callable[[Head], bool]] = (),
) -> bool:
    search = PathSearch(graph, wish.source, wish.target, models=count, through=through, needs=needs)
    return next(iter(search), None) is not None


def _close_heads(graph: HeadGraph, wish: Wish) -> list[tuple[int, Head]]:
    """Heads on short enough walks from source to target, with the walk's number of edges."""
    ahead, behind = graph.distances_from(wish.source), graph.distances_to(wish.target)
    return [
        (ahead[model] + 1 + behind[head.target], head)
        for model in ahead
        for head in graph.leaving(model)
        if head.target in behind and ahead[model] + 1 + behind[head.target] < MOST_MODELS
    ]


def _on_the_way(graph: HeadGraph, wish: Wish) -> list[str]:
    close: dict[str, int] = {}
    for edges, head in _close_heads(graph, wish):
        close[head.target] = min(edges, close.get(head.target, edges))
    ranked = sorted(close.keys() - {wish.source, wish.target}, key=lambda name: (close[name], name))
    # A close model may lie on walks alone, so each is tried; a few are enough for a message.
    return _first_few(ranked, lambda name, count: _exists(graph, wish, count, through=(name,)))


def _runs_on_the_way(graph: HeadGraph, wish: Wish) -> list[str]:
    runs = sorted({head.run for _, head in _close_heads(graph, wish)})
    return _first_few(runs, lambda run, count: _exists(graph, wish, count, needs=[_is_run(run)]))


def _first_few(names: Sequence[str], exists: Callable[[str, int], bool]) -> list[str]:
    found = (name for name in names[:_PROBED] if any(exists(name, count) for count in _COUNTS))
    few = list(itertools.islice(found, _NAMED))
    return [*few, "..."] if len(few) == _NAMED < len(names) else few


def _is_run(run: str) -> Callable[[Head], bool]:
    return lambda head: has_run(head, run)


def _named(names: Sequence[str], none: str) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(names[:_NAMED]) or none
    more = len(names) - _NAMED
    return f"{shown} and {more} more" if more > 0 else shown
