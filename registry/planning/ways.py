"""Every way through the graph of heads that ends at one model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from registry.compat import judge_edge, pair_of
from registry.records import Catalog, Head

MOST_WAYS: Final = 50_000


@dataclass(frozen=True, kw_only=True)
class Ways:
    """Chains of heads that end at `target`, by the number of models; the empty one is the target alone.

    `complete` is False where there were more than are listed.
    """

    target: str
    chains: tuple[tuple[Head, ...], ...]
    complete: bool


def ways_to(catalog: Catalog, target: str, *, source: str | None = None, models: int = 4) -> Ways:
    """Simple paths of at most so many models. Of parallel runs the best by the catalog's own facts is taken.

    Heads that the catalog shows not to fit are left out; what files show is not looked at.

    Args:
        catalog: Whose heads.
        target: The last model's alias.
        source: The first model's alias; any when None.
        models: At most, in one chain.
    """
    entering = _Entering(catalog)
    found: list[tuple[Head, ...]] = [()]
    reached: list[tuple[Head, ...]] = [()]
    complete = True
    away = None if source is None else _edges_from(catalog, source)
    for edges in range(1, models):
        longer: list[tuple[Head, ...]] = []
        for path in reached:
            first = path[0].source if path else target
            visited = {head.target for head in path} | {target}
            longer += [
                (head, *path)
                for head in entering.of(first)
                if head.source not in visited
                # what the source does not reach in the edges that are left would only crowd out what it does
                and (away is None or away.get(head.source, models) < models - edges)
            ]
            if len(longer) > MOST_WAYS:
                complete = False
                break
        reached = longer[:MOST_WAYS]
        found += reached
    if source is not None:
        found = [path for path in found if not path or path[0].source == source]
    return Ways(target=target, chains=tuple(found), complete=complete)


def _edges_from(catalog: Catalog, source: str) -> dict[str, int]:
    """Of each model that heads lead to from the source, the fewest on the way."""
    leaving: dict[str, set[str]] = {}
    for head in catalog.heads:
        leaving.setdefault(head.source, set()).add(head.target)
    found = {source: 0}
    waiting = [source]
    for model in waiting:
        for target in sorted(leaving.get(model, set()) - found.keys()):
            found[target] = found[model] + 1
            waiting.append(target)
    return found


class _Entering:
    """The heads that lead to a model, one per edge; judged when they are asked for."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._heads: dict[str, list[Head]] = {}
        for head in catalog.heads:
            self._heads.setdefault(head.target, []).append(head)
        self._best: dict[str, list[Head]] = {}

    def of(self, target: str) -> list[Head]:
        """Those that fit, by their sources."""
        if target not in self._best:
            best: dict[str, tuple[tuple[bool, bool, float, str], Head]] = {}
            for head in self._heads.get(target, ()):
                rank = self._rank(head)
                if rank is not None and (head.source not in best or rank < best[head.source][0]):
                    best[head.source] = rank, head
            self._best[target] = [best[source][1] for source in sorted(best)]
        return self._best[target]

    def _rank(self, head: Head) -> tuple[bool, bool, float, str] | None:
        """As `registry.chains` has it; None where the catalog shows that the head does not fit."""
        models = self._catalog.models
        pair = pair_of(models[head.source], models[head.target], self._catalog.tokenizers)
        statuses = [finding.status for finding in judge_edge(head, pair)]
        if "fail" in statuses:
            return None
        kl = None if head.training is None else head.training.final_eval_kl
        return "unknown" in statuses, kl is None, kl or 0.0, head.run
