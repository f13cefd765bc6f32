"""Which runs of its heads a chain is planned with, where an edge has several."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, product
from typing import Final

from registry.nochain import has_run
from registry.planning.law import Law
from registry.planning.measured import Measured
from registry.records import Catalog, Head

MOST_TRIED: Final = 256  # combinations of runs that are looked up
MOST_PLANNED: Final = 8  # and of those, that are played along texts


def of_run(heads: Sequence[Head], run: str | None) -> tuple[Head, ...]:
    """That run alone where an edge has it, and every other edge as it is; all where none is asked for."""
    having = set() if run is None else {(head.source, head.target) for head in heads if has_run(head, run)}
    return tuple(
        head
        for head in heads
        if run is None or has_run(head, run) or (head.source, head.target) not in having
    )


class Runs:
    """The parallel runs of a catalog's edges, and what is known of them in one setup.

    Args:
        catalog: Whose heads.
        measured: Of the setup.
        law: How texts are drawn.
    """

    def __init__(self, catalog: Catalog, measured: Measured, law: Law) -> None:
        self._measured, self._law = measured, law
        self._heads: dict[tuple[str, str], list[Head]] = {}
        for head in catalog.heads:
            self._heads.setdefault((head.source, head.target), []).append(head)

    def several(self, head: Head) -> bool:
        """Whether the head's edge has other runs too."""
        return len(self.beside(head)) > 1

    def beside(self, head: Head) -> list[Head]:
        """All runs of the head's edge, itself among them."""
        return self._heads.get((head.source, head.target), [head])

    def worth(self, heads: Sequence[Head]) -> list[list[list[Head]]]:
        """Which runs a chain may be planned with: for each way to choose, of each edge the runs to choose among.

        Those that were tuned together come first; where none was, each run that was heard; where none was, all.

        Args:
            heads: Of the chain, any run of each edge, smallest edge first.
        """
        edges = [self.beside(head) for head in heads]
        if self._measured.setup is None or all(len(edge) == 1 for edge in edges):
            return [edges]
        models = [*(head.source for head in heads), heads[-1].target]
        tuned = [
            [[head] for head in several]
            for several in islice(product(*edges), MOST_TRIED)
            if self._measured.lengths(models, [head.name for head in several], self._law) is not None
        ]
        if tuned:
            return tuned[:MOST_PLANNED]
        heard = [[[head] for head in self._heard(edge, along=models[-1])] or [edge] for edge in edges]
        return [list(several) for several in islice(product(*heard), MOST_PLANNED)]

    def _heard(self, edge: Sequence[Head], *, along: str) -> list[Head]:
        """The runs whose answers are known."""
        known = self._measured.heard(edge[0].source, edge[0].target, along, self._law)
        return [head for head in edge if head.name in known]
