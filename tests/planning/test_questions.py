"""What it costs to be told when to stop, and what makes measurements of it void."""

from __future__ import annotations

from pathlib import Path

from registry.planning.costs import ChainCosts
from registry.planning.fingerprint import fingerprint
from registry.planning.timing import EdgeTimes, ForwardTime, ForwardTimes
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
