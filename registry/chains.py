"""From source to target over heads that fit: one chain chosen, or every reason why there is none.

How candidates are ranked. A head's cost is (failed, unknown, unmeasured, KL): whether a finding of its
edge fails, whether one is unknown, whether no final evaluation KL is recorded, and that KL. Costs are added
part by part along a chain and compared from the left, so that the best run of an edge is the best run of
every chain through it, and the order is total: a head without a KL never stands between two that have
one. What is left equal is settled by names. Before all this comes the number of models: three where such
a chain holds (little, draft, target), else the fewest.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise

from registry.compat import Pair, Side, judge_chain, judge_edge, pair_of
from registry.errors import CheckpointError, NoChainError
from registry.facts import NOTHING_KNOWN, EdgeFacts
from registry.graph import Cost, HeadGraph, PathSearch
from registry.names import find_model
from registry.nochain import Wish, has_run, no_chain
from registry.records import Catalog, Finding, Head, Model, Record

LISTED = 100
"""Candidates, and refusals of an error, that are listed; of further ones only the number is told."""

COUNTED = 1_000
"""Further candidates that are counted before counting stops."""

TRIED = 1_000
"""Chains of one length whose edges all fit, tried before giving that length up for want of fitting ends."""

_KL_PARTS = 10**12

FactsOf = Callable[[Head], EdgeFacts]


class Chain(Record):
    """Models in order, smallest first; `heads[i]` joins `models[i]` and `models[i + 1]`."""

    models: tuple[Model, ...]
    heads: tuple[Head, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def compatible(self) -> bool:
        """No finding fails. Findings may still be unknown."""
        return all(finding.status != "fail" for finding in self.findings)

    @property
    def names(self) -> tuple[str, ...]:
        """The models' aliases, in order."""
        return tuple(model.alias for model in self.models)

    @property
    def roles(self) -> dict[str, str]:
        """Role -> alias: little, draft, target; the inner ones numbered from four models on."""
        count = len(self.models)
        drafts = ["draft"] if count <= 3 else [f"draft-{number}" for number in range(1, count - 1)]
        roles = ["little", *drafts, "target"]
        return dict(zip(roles[-count:], self.names, strict=True))


class Refusal(Record):
    """A candidate that was refused: its models, the run of each edge, and the findings that failed."""

    models: tuple[str, ...]
    runs: tuple[str, ...]
    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        reasons = "; ".join(f"{finding.subject}: {finding.detail}" for finding in self.findings)
        return f"{' -> '.join(self.models)} ({', '.join(self.runs)}): {reasons}"


class Candidates(Record):
    """All chains that were asked for, those that fit first, each group by rank.

    `left_off` more were found beyond those listed; `complete` is False where there may be still more.
    """

    chains: tuple[Chain, ...]
    left_off: int = 0
    complete: bool = True


def resolve(
    catalog: Catalog,
    source: str,
    target: str,
    *,
    length: int | None = None,
    via: str | Sequence[str] | None = None,
    run: str | None = None,
    facts: FactsOf | None = None,
) -> Chain:
    """Choose the chain from source to target; the same one whatever the catalog's order.

    Args:
        length: Exactly so many models; by default three where such a chain holds, else the fewest, to six.
        via: A model, or several in any order, that the chain has to pass.
        run: This run on every edge that has it, and on one edge of the chain at least.
        facts: What the files of a head's edge say; without it the catalog alone is judged.

    Raises:
        UnknownNameError: A model of that name is not in the catalog.
        NoChainError: No path; one the other way round only; the options leave none; or all were refused.
        UsageError: `length` is out of range.
    """
    search = _Search(catalog, _wish(catalog, source, target, length=length, via=via, run=run), facts)
    for count in search.wish.lengths:
        chain = search.best(count)
        if chain is not None:
            return chain
    raise search.failure(search.candidates(LISTED, counted=1))


def candidates(
    catalog: Catalog,
    source: str,
    target: str,
    *,
    length: int | None = None,
    via: str | Sequence[str] | None = None,
    run: str | None = None,
    facts: FactsOf | None = None,
    limit: int = LISTED,
) -> Candidates:
    """List the chains that `resolve` chooses from, in its order, then those it would refuse.

    Raises:
        UnknownNameError, UsageError: As for `resolve`.
        NoChainError: There is no candidate at all, not even one to refuse.
    """
    search = _Search(catalog, _wish(catalog, source, target, length=length, via=via, run=run), facts)
    found = search.candidates(limit, counted=COUNTED)
    if not found.chains:
        raise search.failure(found)
    return found


def lone(catalog: Catalog, name: str) -> Chain:
    """A chain of one model: the target alone, no heads. Raises UnknownNameError."""
    return Chain.model_construct(models=(find_model(catalog, name),))


def _wish(
    catalog: Catalog,
    source: str,
    target: str,
    *,
    length: int | None,
    via: str | Sequence[str] | None,
    run: str | None,
) -> Wish:
    """The request with every name found."""
    stops = [via] if isinstance(via, str) else via or ()
    return Wish(
        source=find_model(catalog, source).alias,
        target=find_model(catalog, target).alias,
        via=tuple(find_model(catalog, name).alias for name in stops),
        run=run,
        length=length,
    )


class _Search:
    """One request at work: candidates found, judged, and each edge judged once."""

    def __init__(self, catalog: Catalog, wish: Wish, facts: FactsOf | None) -> None:
        self.wish = wish
        self._catalog, self._facts = catalog, facts
        self._graph = HeadGraph(catalog.models, _with_run(catalog.heads, wish.run))
        # By identity: hashing a record walks all its fields, and the catalog keeps every head alive.
        self._judged: dict[int, _Judged] = {}
        self._cut_short = False

    def best(self, count: int) -> Chain | None:
        """The best chain of `count` models that is not refused."""
        tried = (self._chain(heads) for heads in islice(self._paths(count, failing=False), TRIED))
        return next((chain for chain in tried if chain.compatible), None)

    def candidates(self, limit: int, *, counted: int) -> Candidates:
        """Chains of every wished length, those that fit first; of further ones `counted` are counted."""
        paths = itertools.chain.from_iterable(
            self._paths(count, failing=failing) for failing in (False, True) for count in self.wish.lengths
        )
        chains = [self._chain(heads) for heads in islice(paths, limit)]
        left_off = sum(1 for _ in islice(paths, counted))
        complete = left_off < counted and not self._cut_short
        chains.sort(key=lambda found: not found.compatible)
        return Candidates(chains=tuple(chains), left_off=left_off, complete=complete)

    def failure(self, found: Candidates) -> NoChainError:
        """The error for a request whose candidates, if any, are all refused."""
        return no_chain(
            self.wish,
            HeadGraph.of(self._catalog),
            [_refusal(chain) for chain in found.chains if not chain.compatible],
            untold=found.left_off > 0,
            cut_short=self._cut_short,
        )

    def _paths(self, count: int, *, failing: bool) -> Iterator[tuple[Head, ...]]:
        """Paths by rank: those without a failing edge, or (failing) those with one."""
        needs = [*self.wish.needs, *([self._fails] if failing else [])]
        search = PathSearch(
            self._graph,
            self.wish.source,
            self.wish.target,
            models=count,
            cost=self._cost,
            through=self.wish.via,
            needs=needs,
        )
        for heads in search:
            if not failing and any(self._fails(head) for head in heads):
                break  # failures come first in a cost: none of what follows fits
            yield heads
        self._cut_short |= search.cut_short

    def _cost(self, head: Head) -> Cost:
        return self._judge(head).cost

    def _fails(self, head: Head) -> bool:
        return self._judge(head).cost[0] > 0

    def _judge(self, head: Head) -> _Judged:
        judged = self._judged.get(id(head))
        if judged is None:
            models, broken = self._catalog.models, []
            try:
                facts = NOTHING_KNOWN if self._facts is None else self._facts(head)
            except CheckpointError as error:
                facts = NOTHING_KNOWN
                broken = [Finding(check="files", subject=head.name, status="fail", detail=str(error))]
            pair = pair_of(models[head.source], models[head.target], self._catalog.tokenizers, facts)
            findings = (*judge_edge(head, pair), *broken)
            judged = _Judged(pair=pair, findings=findings, cost=_cost_of(head, findings))
            self._judged[id(head)] = judged
        return judged

    def _chain(self, heads: tuple[Head, ...]) -> Chain:
        judged = [self._judge(head) for head in heads]
        sides = _sides([one.pair for one in judged])
        return Chain.model_construct(
            models=tuple(side.model for side in sides),
            heads=heads,
            findings=(*(finding for one in judged for finding in one.findings), *judge_chain(sides)),
        )


@dataclass(frozen=True, kw_only=True)
class _Judged:
    pair: Pair
    findings: tuple[Finding, ...]
    cost: Cost


def _cost_of(head: Head, findings: Sequence[Finding]) -> Cost:
    """(failed, unknown, unmeasured, KL in 1e-12 nats): whole numbers, so that sums are exact."""
    kl = None if head.training is None else head.training.final_eval_kl
    return (
        int(any(finding.status == "fail" for finding in findings)),
        int(any(finding.status == "unknown" for finding in findings)),
        int(kl is None),
        0 if kl is None else round(Fraction(kl) * _KL_PARTS),
    )


def _sides(pairs: Sequence[Pair]) -> list[Side]:
    """The chain's models in order; one between two edges is taken where its tokenizer was read."""
    inner = [
        before.target if after.source.vocabulary is None else after.source
        for before, after in pairwise(pairs)
    ]
    return [pairs[0].source, *inner, pairs[-1].target]


def _with_run(heads: Sequence[Head], run: str | None) -> Sequence[Head]:
    """Where an edge has the run, that run alone; every other edge as it is."""
    if run is None:
        return heads
    having = {(head.source, head.target) for head in heads if has_run(head, run)}
    return [head for head in heads if (head.source, head.target) not in having or has_run(head, run)]


def _refusal(chain: Chain) -> Refusal:
    return Refusal(
        models=chain.names,
        runs=tuple(head.run for head in chain.heads),
        findings=tuple(finding for finding in chain.findings if finding.status == "fail"),
    )
