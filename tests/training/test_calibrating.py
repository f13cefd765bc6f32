"""Scale and bias undo what training with a weight on rejection does."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heads.training.calibrating import calibrated, fitted_calibration
from heads.training.quality import expected_calibration_error


@given(st.floats(0.4, 2.5), st.floats(-2.0, 2.0), st.floats(1.0, 12.0))
@settings(deadline=None, derandomize=True, max_examples=25)
def test_what_was_done_to_the_logit_is_undone(scale: float, bias: float, weight: float) -> None:
    """
    Labels that are a sigmoid of the logit scaled and shifted give that scale and shift back.
    """
    logit = torch.randn(4000, generator=torch.Generator().manual_seed(0)).double()
    acceptance = torch.sigmoid(scale * logit + bias)

    found = fitted_calibration(logit, acceptance, mismatch_weight=weight)

    assert found.scale == pytest.approx(scale, abs=0.02)
    assert found.bias == pytest.approx(bias, abs=0.02)


def test_a_weight_shifts_and_the_fit_shifts_back() -> None:
    """
    The least of the loss with weight w is a / (a + w (1 - a)): a perfect head needs scale 1 and bias log w.
    """
    acceptance = torch.rand(2000, generator=torch.Generator().manual_seed(1)).double().clamp(0.01, 0.99)
    raw = acceptance / (acceptance + 6 * (1 - acceptance))

    found = fitted_calibration(torch.logit(raw), acceptance, mismatch_weight=6.0)

    assert [found.scale, found.bias] == pytest.approx([1.0, math.log(6)], abs=1e-6)
    assert expected_calibration_error(raw, acceptance) > 0.2
    assert expected_calibration_error(calibrated(torch.logit(raw), found), acceptance) < 1e-6


def test_labels_that_are_all_one_keep_the_fit_finite() -> None:
    """
    Where every token is accepted the likeliest bias is infinite; the fit stays a number.
    """
    found = fitted_calibration(torch.randn(50), torch.ones(50), mismatch_weight=6.0)

    assert math.isfinite(found.scale)
    assert math.log(6) < found.bias < 100
