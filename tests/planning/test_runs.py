"""Edges with several runs of their head: which of them a plan takes, and how it says so."""

from __future__ import annotations

import pytest

from registry.planning.law import Law
from registry.planning.lengths import DraftLengths
from registry.planning.measured import Measured, lengths_subject, trace_subject
from registry.planning.measurement import Measurement
from registry.planning.plan import plan
from registry.planning.planned import Plan, PlannedChain
from registry.records import Head
from registry.shelf import Shelf
from tests.planning.measurements import HERE, edged, fingerprinted, stored, timed
from tests.planning.test_plan import shelf_of

PAIR = ("small", "large")
FIRST, SECOND = ("small--to--large/r", "small--to--large/the other")


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    """Two models, and two runs of the head between them; the catalog says nothing for the second."""
    shelf = shelf_of({"small": 10**9, "large": 10**10}, [PAIR])
    own = Head.model_validate({"source": "small", "target": "large", "run": "the other", "from": "hub"})
    heads = (*shelf.catalog.heads, own)
    return Shelf(shelf.catalog.model_copy(update={"heads": heads}), shelf.lock)


def times() -> list[Measurement]:
    """Of both models."""
    return [*timed("small", 0.001), *timed("large", 0.01)]


def heard(head: str, share: float = 0.7) -> list[Measurement]:
    """The edge, with what that head says, as `measure` keeps it."""
    rounds, trace = edged(*PAIR, share, head=head)
    subject = trace_subject(*PAIR, "large", head)
    return [rounds, trace.model_copy(update={"subject": subject})]


def tuned(head: str, lengths: DraftLengths) -> Measurement:
    """As `tune` keeps it."""
    kept = stored("lengths", lengths_subject(PAIR, [head]), lengths, law="greedy")
    return kept.model_copy(update={"document": {"lengths": kept.document}})


def planned(shelf: Shelf, known: list[Measurement], run: str | None = None) -> Plan:
    """A greedy plan."""
    measured = Measured(HERE, known, fingerprinted)
    return plan(shelf, "large", measured=measured, law=Law(), run=run, catalogs=["my own.yaml"])


def of_pair(found: Plan) -> PlannedChain:
    """The chain of both models."""
    return next(one for one in found.chains if one.models == PAIR)


def test_the_run_that_was_heard_is_planned(shelf: Shelf) -> None:
    """
    With its own lengths, though the catalog would take the other; and the plan names it.
    """
    before, after = (of_pair(planned(shelf, known)) for known in (times(), [*times(), *heard(SECOND)]))

    assert before.estimate.heads != (SECOND,)
    assert after.estimate.heads == (SECOND,)
    assert after.lengths.threshold[0] < 1
    assert after.name == "small -[the other]-> large"


def test_of_two_that_were_heard_the_faster_is_planned(shelf: Shelf) -> None:
    """
    Whichever was measured last: what one run says is kept beside what the other does.
    """
    deaf = heard(FIRST)
    trace = deaf[1].document
    texts = [text | {"foreseen_refused": text["foreseen_kept"]} for text in trace["texts"]]
    deaf[1] = deaf[1].model_copy(update={"document": trace | {"texts": texts}})

    for known in ([*deaf, *heard(SECOND)], [*heard(SECOND), *deaf]):
        assert of_pair(planned(shelf, [*times(), *known])).estimate.heads == (SECOND,)


def test_the_run_that_was_tuned_is_planned(shelf: Shelf) -> None:
    """
    It was run, and `decode` will run it with what was found.
    """
    lengths = DraftLengths.fixed(6)

    found = of_pair(planned(shelf, [*times(), *heard(FIRST), tuned(SECOND, lengths)]))

    assert found.estimate.heads == (SECOND,)
    assert found.lengths == lengths


def test_a_run_that_is_asked_for_comes_first(shelf: Shelf) -> None:
    """
    Where another was heard in its place the plan says what would hear it, for a shell and with the same catalogs.
    """
    found = of_pair(planned(shelf, [*times(), *heard(FIRST)], run="THE OTHER"))

    assert found.estimate.heads == (SECOND,)
    assert found.estimate.unheard == (SECOND,)
    assert found.next[-1] == (
        "specreg measure small large --length 2 --run 'THE OTHER' --catalog 'my own.yaml'"
    )


def test_a_head_that_changed_keeps_its_chain() -> None:
    """
    Models of unknown size whose forwards were timed: acceptance is assumed by their times, and `measure`
    is what comes next.
    """
    shelf = shelf_of(dict.fromkeys(PAIR), [PAIR])
    stale = [one.model_copy(update={"fingerprint": "other"}) for one in heard(FIRST)]

    found = plan(shelf, "large", measured=Measured(HERE, [*times(), *stale], fingerprinted), law=Law())

    assert found.unknown == 0
    chain = of_pair(found)
    assert set(chain.estimate.forwards.values()) == {"measured"}
    assert [basis for _, basis in chain.estimate.acceptance.values()] == ["assumed"]
    assert chain.next[-1] == "specreg measure small large"
