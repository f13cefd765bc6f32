"""Which chain it is, and whether its parts fit by catalog and files: a refused one is looked at all the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from heads.doctor.check import Check, Status
from registry.chains import Chain, candidates
from registry.command import command
from registry.errors import NoChainError
from registry.names import find_model
from registry.pipeline import find_chain
from registry.records import Finding
from registry.shelf import Shelf

STATUS: Final[dict[str, Status]] = {"pass": "ok", "fail": "fault", "unknown": "unknown"}
CAUSES: Final = {
    "hidden_size": "a wrong head: it was trained on the hidden states of another model",
    "depth": "a wrong head, or a run under a wrong name: its parts are of two trainings",
    "tokenizer": "a foreign tokenizer: an id does not mean the same to both models, so that drafts are noise",
    "vocabulary": "models of two vocabularies, or a catalog that tells of another checkpoint",
    "ends": "models of two families, or a base model beside a chat model: a text does not end alike for them",
    "distinct": "a chain that names a model twice",
    "files": "a file that is damaged, or no checkpoint",
}
LONGEST: Final = 3  # the length that comes first where none is asked for


def chosen_chain(
    shelf: Shelf, source: str, target: str, *, length: int | None, via: tuple[str, ...], run: str | None
) -> tuple[Chain, list[Check]]:
    """The chain that decoding would take, else the first that is refused, and how its parts fit.

    Where a longer chain, which comes first, is refused for what lies on this machine, that is a fault too: decoding
    passes it over in silence.

    Raises:
        UnknownNameError: No model of that name.
        NoChainError: There is no path, not even one to refuse.
    """
    narrowing: dict[str, Any] = {"via": via or None, "run": run}
    try:
        chain = find_chain(shelf, source, target, length=length, **narrowing)
    except NoChainError as error:
        if error.reason != "refused":
            raise
        chain = candidates(
            shelf.catalog, source, target, length=length, facts=shelf.edge_facts, **narrowing
        ).chains[0]
    passed_over: list[Finding] = []
    if length is None and len(chain.models) == LONGEST - 1:
        passed_over = list(_refused(shelf, source, target, **narrowing))
    return chain, [*_told(shelf, chain.findings), *_told(shelf, passed_over)]


def misfits(checks: Iterable[Check]) -> set[str]:
    """Names of heads that cannot be asked."""
    return {one.subject for one in checks if one.status == "fault" and one.check in {"hidden_size", "depth"}}


def _refused(
    shelf: Shelf, source: str, target: str, *, via: tuple[str, ...] | None, run: str | None
) -> Iterator[Finding]:
    """What refuses the longer chains whose heads are here."""
    if find_model(shelf.catalog, source).alias == find_model(shelf.catalog, target).alias:
        return
    try:
        found = candidates(
            shelf.catalog, source, target, length=LONGEST, via=via, run=run, facts=shelf.edge_facts
        )
    except NoChainError:
        return
    for chain in found.chains:
        if all(shelf.head_place(head).folder is not None for head in chain.heads):
            yield from (finding for finding in chain.findings if finding.status == "fail")


def _told(shelf: Shelf, findings: Iterable[Finding]) -> Iterator[Check]:
    """Each finding once."""
    names = {head.name: head for head in shelf.catalog.heads}
    for finding in dict.fromkeys(findings):
        failed = finding.status == "fail"
        head = names.get(finding.subject)
        ends = (head.source, head.target) if head is not None else _ends(finding.subject)
        yield Check(
            check=finding.check,
            subject=finding.subject,
            status=STATUS[finding.status],
            found=finding.detail,
            cause=CAUSES.get(finding.check, "parts that do not belong together") if failed else None,
            next=command("chain", *ends, "--all", catalogs=shelf.given) if failed else None,
        )


def _ends(subject: str) -> tuple[str, str]:
    """First and last model of `a -> b -> c`."""
    names = subject.split(" -> ")
    return names[0], names[-1]
