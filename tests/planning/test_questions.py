"""What it costs to draft a token and to be told when to stop, and what makes measurements of it void."""

from __future__ import annotations

import json
from pathlib import Path

from registry.planning.costs import ChainCosts
from registry.planning.fingerprint import fingerprint
from registry.planning.timing import ChainTimes, EdgeTimes, ForwardTime, ForwardTimes
from registry.shelf import Shelf

HEAD = "pico-little--to--pico-target/exp-weight6-layer3"
ENTRY = """version: 1
heads:
  - source: pico-little
    target: pico-target
    run: exp-weight6-layer3
    from: pico
    calibration: {scale: 1.0, bias: %s}
"""


def test_each_way_to_draw_has_questions_of_its_own() -> None:
    """
    Greedily the head may not be asked at all; measurements that do not tell the ways apart count for both.
    """
    beside = {"greedy": 0.1, "sampled": 0.1}
    times = [
        ForwardTimes(model=name, times=(ForwardTime(query=1, cached=1, seconds=1.0),), outside=beside)
        for name in ("a", "b")
    ]
    told = EdgeTimes(source="a", target="b", verify=beside, questions={"greedy": 0.25, "sampled": 0.5})
    old = EdgeTimes(source="a", target="b", verify=beside, head=0.75)

    for edge, greedy, sampled in ((told, 0.25, 0.5), (old, 0.75, 0.75)):
        assert ChainCosts.measured(times, [edge], greedy=True, cached=1).heads == (greedy,)
        assert ChainCosts.measured(times, [edge], greedy=False, cached=1).heads == (sampled,)


def test_the_lowest_edge_asks_ahead_of_the_host() -> None:
    """
    What a question adds to a step counts where that is known, on the first edge of a chain and on no other.
    """
    beside = {"greedy": 0.1, "sampled": 0.1}
    times = [
        ForwardTimes(model=name, times=(ForwardTime(query=1, cached=1, seconds=1.0),), outside=beside)
        for name in ("a", "b", "c")
    ]
    edges = [
        EdgeTimes(
            source=source,
            target=target,
            verify=beside,
            questions=dict.fromkeys(beside, 0.5),
            ahead={"greedy": 0.25},
        )
        for source, target in (("a", "b"), ("b", "c"))
    ]

    assert ChainCosts.measured(times, edges, greedy=True, cached=1).heads == (0.25, 0.5)
    assert ChainCosts.measured(times, edges, greedy=False, cached=1).heads == (0.5, 0.5)


def test_a_drafted_token_is_a_step_ahead_of_the_host() -> None:
    """
    With its forward it takes what the step took, which may be less than the forward and what a token alone takes; a
    model alone reads each token back, and takes that.
    """
    times = (ForwardTime(query=1, cached=64, seconds=1.0), ForwardTime(query=1, cached=512, seconds=1.5))
    beside = {"greedy": 0.25, "sampled": 0.25}
    draft = ForwardTimes(model="a", times=times, outside=beside, ahead={"greedy": 0.75, "sampled": 2.0})
    edge = EdgeTimes(source="a", target="b", verify=beside)

    for greedy, draw in ((True, -0.25), (False, 1.0)):
        assert ChainCosts.measured([draft, draft], [edge], greedy=greedy, cached=64).draw == draw
        assert ChainCosts.measured([draft], [], greedy=greedy, cached=64).draw == 0.25


def test_no_round_takes_less_than_half_its_forward() -> None:
    """
    What a whole chain saves it saves with all its levels at work: a round in which only the last one is takes time.
    """
    beside = {"greedy": 0.5, "sampled": 0.5}
    times = [
        ForwardTimes(model=name, times=(ForwardTime(query=1, cached=1, seconds=0.25),), outside=beside)
        for name in ("a", "b", "c", "d")
    ]
    edges = [EdgeTimes(source="a", target="b", verify=beside)] * 3

    for saved, verify in ((0.25, 0.25), (9.0, -0.125)):
        chain = ChainTimes(models=("a", "b", "c", "d"), round=-saved)
        costs = ChainCosts.measured(times, edges, greedy=True, cached=1, chain=chain)
        assert costs.verify == (0.5, 0.5, verify)


def test_older_measurements_still_tell() -> None:
    """
    Documents that know nothing of steps ahead are read, and take a drafted token for one decoded alone; newer ones
    come back as they were.
    """
    times = [{"query": 1, "cached": 64, "seconds": 1.0}]
    alone = {"greedy": 0.25, "sampled": 0.5}
    forwards = {"model": "a", "as_target": False, "times": times, "outside": alone}
    rounds = {
        "source": "a",
        "target": "b",
        "head_name": None,
        "head": 0.0,
        "questions": alone,
        "verify": alone,
    }

    old = ForwardTimes.model_validate_json(json.dumps(forwards))
    edge = EdgeTimes.model_validate_json(json.dumps(rounds))

    assert [old.drawing(way) for way in alone] == [0.25, 0.5]
    assert [edge.question(way, lowest=True) for way in alone] == [0.25, 0.5]
    for record in (old.model_copy(update={"ahead": alone}), edge.model_copy(update={"ahead": alone})):
        assert type(record).model_validate_json(record.model_dump_json()) == record


def test_another_calibration_is_another_head(tmp_path: Path) -> None:
    """
    Drafts stop by it: what was measured under one in the catalog does not count under another.
    """
    found = {fingerprint(Shelf.open(()), ["pico-target"], [HEAD])}
    for bias in (1.0, 2.0):
        file = tmp_path / f"{bias}.yaml"
        file.write_text(ENTRY % bias)
        found.add(fingerprint(Shelf.open(file), ["pico-target"], [HEAD]))

    assert len(found) == 3
