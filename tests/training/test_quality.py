"""Ranking and calibration, against their definitions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heads.training.quality import area_under_curve, brier_score, expected_calibration_error, reliability
from registry.errors import ShapeError

POINTS = st.lists(
    st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.floats(0.05, 0.95)), min_size=2, max_size=20
)


@given(POINTS)
@settings(deadline=None, derandomize=True)
def test_auc_is_the_chance_that_an_accepted_token_scores_higher(points: list[tuple[float, float]]) -> None:
    """
    The fast count equals the sum over all pairs, ties counted half.
    """
    scores, acceptance = (torch.tensor(column, dtype=torch.double) for column in zip(*points, strict=True))
    above = (scores[:, None] > scores[None]).double() + 0.5 * (scores[:, None] == scores[None]).double()
    weights = acceptance[:, None] * (1 - acceptance)[None]

    expected = (above * weights).sum() / weights.sum()

    assert area_under_curve(scores, acceptance) == pytest.approx(expected.item(), abs=1e-9)


def test_calibration_error_is_the_mean_gap() -> None:
    """
    Three positions off by 0.1 and one off by 0.3: three quarters of the one, a quarter of the other.
    """
    predicted = torch.tensor([0.5, 0.5, 0.5, 0.95])
    acceptance = torch.tensor([0.4, 0.4, 0.4, 0.65])

    assert expected_calibration_error(predicted, acceptance) == pytest.approx(
        0.75 * 0.1 + 0.25 * 0.3, abs=1e-6
    )


def test_brier_score_of_a_fair_coin_told_fair_is_a_quarter() -> None:
    """
    Even a perfect prediction of one half is off by a quarter.
    """
    assert brier_score(torch.tensor([0.5]), torch.tensor([0.5])) == pytest.approx(0.25)


def test_the_bins_give_the_calibration_error() -> None:
    """
    The histogram is what the error is made of: sizes and gaps of its bins sum up to it.
    """
    generator = torch.Generator().manual_seed(0)
    predicted, acceptance = torch.rand(2, 200, generator=generator)

    bins = reliability(predicted, acceptance)

    gaps = sum(one["count"] * abs(one["predicted"] - one["found"]) for one in bins)
    assert sum(one["count"] for one in bins) == 200
    assert gaps / 200 == pytest.approx(expected_calibration_error(predicted, acceptance), abs=1e-6)


def test_rows_of_two_lengths_are_refused() -> None:
    """
    Predictions and labels that do not pair up are named by their shapes.
    """
    with pytest.raises(ShapeError, match=r"got \(2,\) and \(3,\)"):
        expected_calibration_error(torch.zeros(2), torch.zeros(3))
