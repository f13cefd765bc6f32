"""Which way to draft is found to be the quicker one, by a clock that the tests turn."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads.pace import AGAIN, KEPT, TRIED, Quicker

SETTLED = 2 * TRIED  # drafts, of three answers each


class Clock:
    """Seconds, turned by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def draft(pace: Quicker, clock: Clock, took: Callable[[bool], float], *, stopped: bool = True) -> bool:
    """One draft of three steps; whether it launched early."""
    early = pace.begin()
    for _ in range(3):
        clock.now += took(early)
        pace.answered()
    pace.end(3, stopped=stopped)
    return early


def settled(took: Callable[[bool], float], *, stopped: bool = True) -> tuple[Quicker, Clock]:
    """A pace that knows both ways."""
    clock = Clock()
    pace = Quicker(clock)
    for _ in range(SETTLED):
        draft(pace, clock, took, stopped=stopped)
    return pace, clock


@pytest.mark.parametrize(
    ("early", "late", "expected"),
    [(0.2, 0.28, True), (0.2, 0.25, False), (1.4, 1.5, False), (15.0, 15.0, False)],
    ids=["a tiny model", "a small model", "a real one", "a host that is slower than its device"],
)
def test_a_step_in_vain_is_weighed_against_the_gaps(early: float, late: float, *, expected: bool) -> None:
    """
    Of drafts of three steps, each stopped, four early steps against three late ones.
    """
    pace, clock = settled(lambda way: early if way else late)

    assert [draft(pace, clock, lambda way: early if way else late) for _ in range(3)] == [expected] * 3


def test_drafts_that_nothing_stops_are_launched_early() -> None:
    """
    Nothing is in vain then, and gaps are never won back.
    """
    pace, clock = settled(lambda way: 1.0 if way else 1.01, stopped=False)

    assert draft(pace, clock, lambda way: 1.0 if way else 1.01, stopped=False)


def test_the_other_way_is_tried_again_and_may_win() -> None:
    """
    A machine that has got slower at one way is left for the other, by and by.
    """
    pace, clock = settled(lambda way: 1.0 if way else 1.1)
    assert not draft(pace, clock, lambda way: 1.0 if way else 1.1)

    later = [draft(pace, clock, lambda way: 1.0 if way else 5.0) for _ in range(KEPT)]

    assert later[-3:] == [True] * 3
    again = [draft(pace, clock, lambda way: 1.0 if way else 1.1) for _ in range(2 * AGAIN)]
    assert 1 <= again.count(False) <= 2


@given(
    early=st.floats(0.01, 10),
    late=st.floats(0.01, 10),
    drafts=st.lists(st.tuples(st.integers(1, 20), st.booleans()), min_size=1, max_size=KEPT),
)
def test_the_way_that_takes_less_in_all_is_preferred(
    early: float, late: float, drafts: list[tuple[int, bool]]
) -> None:
    """
    Of whatever drafts it remembers, the one in vain of each stopped draft included.
    """
    pace, _ = settled(lambda way: early if way else late)
    for steps, stopped in [*drafts, *[(0, False)] * (KEPT - len(drafts))]:
        pace.end(steps, stopped=stopped)

    whole = {
        True: sum(steps + stopped for steps, stopped in drafts) * early,
        False: sum(steps for steps, _ in drafts) * late,
    }
    if abs(whole[True] - whole[False]) > 1e-6 * whole[True]:
        assert pace.quicker_early() is (whole[True] < whole[False])
