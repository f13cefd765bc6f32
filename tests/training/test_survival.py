"""What is said of whole drafts, against a model's forward over each prefix alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from heads.head import AcceptancePredictionHead
from heads.training.labels import rows
from heads.training.survival import Drafts, draft
from heads.training.texts import continuations
from heads.training.warper import Warper, uniform_numbers
from registry.records import Calibration
from tests.training.test_labels import tiny

PREFIXES = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10]]
LENGTH = 5


@pytest.fixture(scope="module")
def pair() -> Any:
    """Two tiny models on the CPU, as a pair has them."""
    return SimpleNamespace(source=tiny(1), target=tiny(2), device=torch.device("cpu"))


@pytest.fixture(scope="module")
def head() -> AcceptancePredictionHead:
    torch.manual_seed(0)
    return AcceptancePredictionHead({"hidden_size": 8, "num_layers": 1}).eval()


UNIFORM = torch.stack([uniform_numbers(0, "draft", one, LENGTH) for one in range(3)])


def test_each_token_is_judged_after_the_drafted_ones_before_it(
    pair: Any, head: AcceptancePredictionHead
) -> None:
    """
    min(1, p/q) and the head's logit are those of one forward over prefix and draft alone.
    """
    found = draft(pair, head, PREFIXES, uniform=UNIFORM, end_tokens=(), warper=Warper())

    texts = continuations(pair.source, PREFIXES, uniform=UNIFORM)
    for row, (prefix, text) in enumerate(zip(PREFIXES, texts, strict=True)):
        ids = torch.tensor([text])
        q, p = (rows(model, ids)[0].exp() for model in (pair.source, pair.target))
        hidden = pair.source.model(input_ids=ids).last_hidden_state[0]
        for place in range(LENGTH):
            at, token = len(prefix) + place, text[len(prefix) + place]
            assert found.acceptance[row, place].item() == pytest.approx(
                min(1.0, (p[at - 1, token] / q[at - 1, token]).item()), abs=1e-5
            )
            assert found.logit[row, place].item() == pytest.approx(head.logit(hidden[at]).item(), abs=1e-4)
    assert bool(found.drafted.all())


def test_nothing_counts_behind_the_end_of_a_text(pair: Any, head: AcceptancePredictionHead) -> None:
    """
    A draft holds its end token, and no token after it.
    """
    texts = continuations(pair.source, PREFIXES, uniform=UNIFORM)
    end = texts[0][len(PREFIXES[0]) + 1]

    found = draft(pair, head, PREFIXES, uniform=UNIFORM, end_tokens={end}, warper=Warper())

    new = [text[len(prefix) :] for prefix, text in zip(PREFIXES, texts, strict=True)]
    lengths = [row.index(end) + 1 if end in row else LENGTH for row in new]
    assert found.drafted.sum(dim=1).tolist() == lengths
    assert len(found.survival()) == sum(lengths)


def test_survival_is_the_product_over_the_draft() -> None:
    """
    Two drafts by hand, one of which ends after its first token; calibrated numbers multiply likewise.
    """
    drafts = Drafts(
        logit=torch.tensor([[0.0, 0.0], [0.0, 9.0]]),
        acceptance=torch.tensor([[0.5, 0.5], [0.8, 0.1]]),
        drafted=torch.tensor([[True, True], [True, False]]),
    )

    assert drafts.survival().tolist() == pytest.approx([0.5, 0.25, 0.8])
    assert drafts.predicted(None).tolist() == pytest.approx([0.5, 0.25, 0.5])
    even = Calibration(scale=1.0, bias=1.0)
    one = 1 / (1 + 2.718281828459045**-1)
    assert drafts.predicted(even).tolist() == pytest.approx([one, one * one, one])
    assert drafts.by_place() == pytest.approx([0.65, 0.25])
