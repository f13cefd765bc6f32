"""A head that is another one after it was recorded: what is asked next, the head as it is answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from heads import AcceptancePredictionHead, Cascade
from heads.engines.recorded_head import RecordedHead
from registry.records import Calibration
from tests.heads.models import chain, random_head

PROMPT = [7, 3, 11, 2]


def calibrated(head: AcceptancePredictionHead) -> None:
    """Less hopeful than it was."""
    head.calibration = Calibration(scale=0.5, bias=-1.0)


def assigned(head: AcceptancePredictionHead) -> None:
    """Other tensors are loaded in their place."""
    head.load_state_dict({name: one - 0.1 for name, one in head.state_dict().items()}, assign=True)


def replaced(head: AcceptancePredictionHead) -> None:
    """Its last layer has a new parameter."""
    head.output.bias = nn.Parameter(torch.tensor([9.0, 0.0]))


def written(head: AcceptancePredictionHead) -> None:
    """Numbers change where they lie."""
    with torch.no_grad():
        head.output.bias.copy_(torch.tensor([9.0, 0.0]))


def cast(head: AcceptancePredictionHead) -> None:
    """Another dtype, which rounds otherwise."""
    head.to(torch.float16)


CHANGES = (calibrated, assigned, replaced, written, cast)


@pytest.mark.parametrize("change", CHANGES)
def test_a_text_is_told_by_the_head_as_it_is(change: Callable[[AcceptancePredictionHead], None]) -> None:
    """
    Whatever became of its calibration or its weights: as a head that was never recorded.
    """
    head, hidden = random_head(), torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    recorded = RecordedHead(head)
    before = recorded.acceptance(hidden).clone()

    change(head)
    recorded.begin()

    assert torch.equal(recorded.acceptance(hidden), head.acceptance(hidden))
    assert not torch.equal(recorded.acceptance(hidden), before)
    assert recorded.refusal is None


def test_a_head_that_stays_is_recorded_once() -> None:
    """
    The next text plays what the last one recorded.
    """
    recorded = RecordedHead(random_head())
    recorded.logit(torch.zeros(1, 16))
    kept = dict(recorded._recordings)

    recorded.begin()
    recorded.logit(torch.zeros(1, 16))

    assert recorded._recordings == kept


def test_a_cascade_hears_it() -> None:
    """
    Drafting ahead, with the head in its steps, it proposes as many tokens as one that records nothing, both times.
    """
    models, head = chain(count=2, noise=0.05), random_head()
    captured, eager = (Cascade(models, [head], engine=engine) for engine in ("captured", "eager"))
    captured.ahead = True
    told = []
    for change in (lambda _: None, replaced):
        change(head)
        for cascade in (eager, captured):
            out = cascade.generate(PROMPT, max_new_tokens=10, max_draft=3, threshold=0.9)
            told.append(out.levels[0].proposed)

    assert told == [told[0]] * 2 + [told[-1]] * 2
    assert told[0] != told[-1]
