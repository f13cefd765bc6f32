"""How long each level drafts: which heads are asked, how often, and what a heuristic makes of what was kept."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from heads import AcceptancePredictionHead, Cascade, Generation
from registry.records import Calibration, Outlook
from tests.heads.models import VOCAB, chain, random_head, tiny

PROMPT = [3, 1, 4, 1, 5]
LONGEST = 4
OUTLOOK = Outlook(head=0.6, confidence=0.5, bias=0.2, next_confidence=0.7, next_bias=0.4)
CALIBRATED = Calibration(scale=1.0, bias=0.0, greedy=OUTLOOK, sampled=OUTLOOK)


class Asked:
    """Three levels, and for each of their heads how many rows it was asked about at each call."""

    def __init__(self, *, ahead: bool, calibration: Calibration | None = None) -> None:
        self.rows: list[list[int]] = []
        heads = [random_head(seed=3), random_head(seed=4)]
        self.cascade = Cascade(chain(count=3, noise=0.05), heads, engine="eager")
        self.cascade.ahead = ahead
        for head in heads:
            head.calibration = calibration
            self._listen(head)

    def _listen(self, head: AcceptancePredictionHead) -> None:
        rows: list[int] = []
        self.rows.append(rows)

        def hear(_head: object, given: tuple[Tensor, ...]) -> None:
            rows.append(len(given[0]))

        head.register_forward_pre_hook(hear)

    def decode(self, schedule: str) -> Generation:
        return self.cascade.generate(
            PROMPT, max_new_tokens=28, schedule=schedule, max_draft=LONGEST, threshold=0.6, eos_token_id=[]
        )


@pytest.mark.parametrize("ahead", [False, True], ids=["waiting", "ahead"])
@pytest.mark.parametrize(
    ("schedule", "asked"),
    [
        ("heads", [True, True]),
        ("top-head", [False, True]),
        ("fixed", [False, False]),
        ("heuristic", [False, False]),
        ("confidence", [False, False]),
    ],
)
def test_a_schedule_asks_its_heads_and_no_other(schedule: str, asked: list[bool], *, ahead: bool) -> None:
    """
    By 'top-head' the last edge's alone: below it drafts go by length. By the last three none is asked.
    """
    chained = Asked(ahead=ahead)

    chained.decode(schedule)

    assert [bool(rows) for rows in chained.rows] == asked


@pytest.mark.parametrize("calibration", [None, CALIBRATED], ids=["raw", "calibrated"])
@pytest.mark.parametrize("ahead", [False, True], ids=["waiting", "ahead"])
def test_a_head_above_the_lowest_is_asked_once_a_round(
    calibration: Calibration | None, *, ahead: bool
) -> None:
    """
    About all rows of the forward that verified at once: what was proposed, and the token before it.
    """
    chained = Asked(ahead=ahead, calibration=calibration)

    out = chained.decode("heads")

    low, middle, _ = out.levels
    rows = chained.rows[1]
    assert low.proposed is not None
    assert len(rows) == middle.forwards
    assert sum(rows) == low.proposed + middle.forwards
    assert max(rows) > 1


def opposite(model: PreTrainedModel) -> PreTrainedModel:
    """A model whose most likely token is this one's least likely."""
    found = copy.deepcopy(model)
    with torch.no_grad():
        found.get_output_embeddings().weight.neg_()
    return found


def heuristic(models: list[PreTrainedModel], new: int, **bounds: int) -> Generation:
    out = Cascade(models).generate(PROMPT, max_new_tokens=new, schedule="heuristic", **bounds)  # type: ignore[arg-type]
    assert max(out.token_ids) < VOCAB
    return out


def test_a_heuristic_edge_lengthens_up_to_its_bound() -> None:
    """
    Drafting for itself a model is always accepted: it proposes 5, 7, 9, 9 and 9 tokens.
    """
    model = tiny()

    out = heuristic([model, model], 5 + 7 + 9 + 9 + 9 + 5, max_draft=9)

    assert out.levels[0].accepted_at == out.levels[0].proposed_at == (5, 5, 5, 5, 5, 4, 4, 3, 3)
    assert out.levels[1].forwards == 5


def test_a_heuristic_edge_shortens_down_to_its_bound() -> None:
    """
    Never accepted it proposes 5, 4, 3, 2 and 2 tokens, and at the end what there is room for: 2, 1 and none.
    """
    model = tiny()

    out = heuristic([opposite(model), model], 8, min_draft=2)

    lengths = (5, 4, 3, 2, 2, 2, 1)
    assert out.levels[0].accepted == 0
    assert out.levels[0].proposed_at == tuple(sum(length > at for length in lengths) for at in range(5))


@pytest.mark.parametrize(("bounds", "first"), [({"max_draft": 3}, 3), ({"min_draft": 6}, 6)], ids=str)
def test_a_heuristic_edge_begins_within_its_bounds(bounds: dict[str, int], first: int) -> None:
    """
    Where they leave five tokens out, with the nearest to them.
    """
    model = tiny()

    out = heuristic([model, model], 2 * (first + 1), **bounds)

    assert out.levels[0].proposed_at == (2,) * first
