"""What holds of every plan, whatever the catalog, the times and the texts."""

from __future__ import annotations

import json
import math
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from registry.planning.costs import ChainCosts
from registry.planning.estimate import Estimator
from registry.planning.expected import best_fixed, seconds_per_token
from registry.planning.law import Law
from registry.planning.measured import Measured, chain_subject
from registry.planning.measurement import Measurement
from registry.planning.plan import plan
from registry.planning.setup import Setup
from registry.planning.timing import ChainTimes
from registry.shelf import Shelf
from tests.planning.measurements import HERE, edged, fingerprinted, stored, timed
from tests.planning.test_plan import planned, shelf_of

CARD = HERE.model_copy(update={"device": "cuda"})
NAMES = ("a", "b", "c", "d")
TARGET = "d"
SHARES = st.floats(0.05, 0.98)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Shelf, Setup, list[Measurement]]:
    """Up to four models, some of them of unknown size; some heads; of some of it times and texts."""
    names = NAMES[-draw(st.integers(1, 4)) :]
    mostly = st.sampled_from([True, True, True, False])
    sizes = {name: draw(st.integers(10**6, 10**11)) if draw(mostly) else None for name in names}
    pairs = list(combinations(names, 2))
    edges = [pair for pair in pairs if draw(mostly)]
    setup = draw(st.sampled_from([HERE, CARD]))
    known: list[Measurement] = []
    for name in names:
        if draw(mostly):
            ahead = None if setup.device == "cpu" else draw(st.none() | st.floats(1e-5, 0.1))
            outside = draw(st.floats(0, 0.01))
            known += timed(name, draw(st.floats(1e-5, 0.1)), outside=outside, ahead=ahead, setup=setup)
    for source, target in pairs:
        if draw(st.booleans()):
            head = draw(st.sampled_from([None, f"{source}--to--{target}/r"]))
            found = edged(source, target, draw(SHARES), text_of=TARGET, head=head, setup=setup, tokens=60)
            known += found if draw(st.booleans()) else [one for one in found if one.kind == "trace"]
    for models in [names[-count:] for count in (3, 4) if count <= len(names)]:
        whole = ChainTimes(models=models, round=draw(st.floats(-1, 1)))
        known.append(stored("chain", chain_subject(models), whole, setup=setup))
    return shelf_of(sizes, edges), setup, known


@given(worlds())
@settings(max_examples=40)
def test_what_holds_of_every_plan(world: tuple[Shelf, Setup, list[Measurement]]) -> None:
    """
    Best first, each chain once, the target alone among them at its own forward's time; nothing is below nothing, no
    head makes it slower than the best fixed lengths; asked twice it is the same, and as JSON too.
    """
    shelf, setup, known = world
    measured = Measured(setup, known, fingerprinted)

    found = plan(shelf, TARGET, measured=measured, law=Law())

    again = plan(shelf, TARGET, measured=Measured(setup, known, fingerprinted), law=Law())
    assert again == found
    assert json.loads(json.dumps(found.to_json(), allow_nan=False)) == found.to_json()
    alone = Estimator(shelf.catalog.models, measured, Law()).seconds(TARGET, as_target=True)
    if alone is None:
        assert found.chains == ()
        return
    speeds = [one.tokens_per_second for one in found.chains]
    assert speeds == sorted(speeds, reverse=True)
    assert all(0 < speed < math.inf for speed in speeds)
    assert found.best.tokens_per_second == max(speeds)
    assert len({one.models for one in found.chains}) == len(found.chains)
    (target,) = (one for one in found.chains if one.models == (TARGET,))
    assert math.isclose(target.tokens_per_second, 1 / alone, rel_tol=1e-9)
    for one in found.chains:
        assert one.estimate.seconds_per_token <= one.estimate.fixed_seconds_per_token * (1 + 1e-9)
        assert math.isclose(one.speedup, one.tokens_per_second * alone, rel_tol=1e-9)
        assert all(len(values) == len(one.models) - 1 for values in one.settings.values())


@given(
    seconds=st.lists(st.floats(1e-3, 10), min_size=2, max_size=4),
    shares=st.lists(SHARES, min_size=3, max_size=3),
    more=st.lists(st.floats(0, 0.5), min_size=3, max_size=3),
    lengths=st.lists(st.integers(1, 8), min_size=3, max_size=3),
)
@settings(max_examples=80)
def test_more_acceptance_never_makes_it_slower(
    seconds: list[float], shares: list[float], more: list[float], lengths: list[int]
) -> None:
    """
    On any edges, with the same lengths and with the best ones.
    """
    edges = len(seconds) - 1
    costs = ChainCosts.flat(*seconds)
    below, above = (
        shares[:edges],
        [min(1.0, share + add) for share, add in zip(shares, more, strict=True)][:edges],
    )
    drafted = sorted(lengths[:edges])

    same = [seconds_per_token(costs, kept, drafted) for kept in (below, above)]
    best = [best_fixed(costs, kept, grid=(1, 3, 6)).seconds_per_token for kept in (below, above)]

    assert same[1] <= same[0] * (1 + 1e-9)
    assert best[1] <= best[0] * (1 + 1e-9)


@given(speed=st.floats(0.1, 0.9), share=SHARES)
@settings(max_examples=15)
def test_a_faster_draft_never_makes_it_slower(speed: float, share: float) -> None:
    """
    The same texts with a draft whose forwards take less are decoded no slower.
    """
    shelf = shelf_of({"c": 10**8, TARGET: 10**9}, [("c", TARGET)])
    rest = [*timed(TARGET, 0.01), *edged("c", TARGET, share, tokens=60)]

    slow, fast = (
        next(
            one
            for one in planned(shelf, TARGET, [*timed("c", seconds), *rest]).chains
            if len(one.models) == 2
        )
        for seconds in (0.005, 0.005 * speed)
    )
    assert slow.estimate.replayed
    assert fast.estimate.fixed_seconds_per_token <= slow.estimate.fixed_seconds_per_token * 1.01
