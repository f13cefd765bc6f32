"""Scale and bias undo what training with a weight on rejection does."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heads import AcceptancePredictionHead
from heads.edge import Edge
from heads.training.calibrating import calibrated, fitted_calibration, full_calibration
from heads.training.features import Positions
from heads.training.quality import expected_calibration_error
from registry.records import Outlook
from tests.training.made import examples_of


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


def told(count: int, *, greedy: bool) -> tuple[AcceptancePredictionHead, Positions, Outlook]:
    """A head that says the first hidden value, and positions whose labels follow this outlook."""
    torch.manual_seed(5)
    head = AcceptancePredictionHead({"hidden_size": 4, "num_layers": 0}).eval()
    with torch.no_grad():
        head.output.weight.zero_()
        head.output.weight[1, 0] = 1.0
        head.output.bias.zero_()
    outlook = Outlook(head=0.6, confidence=0.8, bias=0.4, next_confidence=0.8, next_bias=0.4)
    hidden, confidence = torch.randn(count, 4), 2 * torch.randn(count)
    if greedy:
        hidden[:, 0] = 0  # then nothing but confidence tells of what was just drawn
        outlook = outlook.model_copy(update={"head": 0.0})
    logit = outlook.head * hidden[:, 0] + outlook.confidence * confidence + outlook.bias
    kept = torch.sigmoid(logit)
    likeliest = torch.rand(count) < 0.5
    agreed = torch.rand(count) < kept
    examples = examples_of(hidden, kept, confidence=confidence, likeliest=likeliest, agreed=agreed)
    return head, Positions.of(examples), outlook


def test_an_outlook_is_found_again() -> None:
    """
    Labels made by known weights of head and confidence give these weights.
    """
    head, positions, outlook = told(20_000, greedy=False)

    found = full_calibration(head, positions, mismatch_weight=1.0, greedy=False)

    assert found.sampled is not None
    for name in ("head", "confidence", "bias"):
        assert getattr(found.sampled, name) == pytest.approx(getattr(outlook, name), abs=0.02)
    assert found.outlook(greedy=False) == found.sampled


def test_one_text_tells_of_greedy_decoding_too() -> None:
    """
    The greedy outlook is that of the tokens which greedy decoding would draw, and of whether it would keep them.
    """
    head, positions, outlook = told(40_000, greedy=True)

    found = full_calibration(head, positions, mismatch_weight=1.0, greedy=True)

    assert found.sampled is None, "a greedy text tells nothing of sampling"
    assert found.outlook(greedy=True) is not None
    greedy = found.outlook(greedy=True)
    assert greedy is not None
    for name in ("confidence", "bias", "next_confidence", "next_bias"):
        assert getattr(greedy, name) == pytest.approx(getattr(outlook, name), abs=0.06)


def test_a_head_that_tells_nothing_more_is_not_asked() -> None:
    """
    Where confidence alone says as much, the head gets no weight, and the edge has no question for it.
    """
    head, positions, _ = told(5_000, greedy=True)

    greedy = full_calibration(head, positions, mismatch_weight=1.0, greedy=True).greedy

    assert greedy is not None
    assert greedy.head == 0.0
    edge = Edge(head=head, min_draft=1, max_draft=4, threshold=0.5, outlook=greedy)
    assert edge.asks
    assert edge.logit(torch.zeros(1, 4)) is None
