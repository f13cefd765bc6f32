"""What is replayed along texts drawn by chance is what decoding does that draws and verifies every token."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from heads.measuring.shares import kept_otherwise_shares, kept_shares, overlap
from registry.planning.costs import ChainCosts
from registry.planning.lengths import DraftLengths
from registry.planning.replay import Replay, Replayed
from registry.planning.trace import EdgeTrace, TextTrace
from tests.planning.drawing import Drawn, Rows, rows_of

PLACES = 2500
MS = (1.0, 3.0, 10.0, 30.0)


@pytest.fixture(scope="module")
def rows() -> list[Rows]:
    """Of four levels."""
    return rows_of(4, places=PLACES)


def edge_trace(source: Rows, target: Rows, text_of: Rows, *, above: Rows | None) -> EdgeTrace:
    """As `measure` makes it, along one text drawn from the last level's rows."""
    q, p = torch.tensor(source), torch.tensor(target)
    said = torch.multinomial(torch.tensor(text_of), 1, generator=torch.Generator().manual_seed(7))[:, 0]
    otherwise = [] if above is None else kept_otherwise_shares(q, p, torch.tensor(above)).tolist()
    text = TextTrace(
        prompt_tokens=1, kept=tuple(kept_shares(q, p, said).tolist()), kept_otherwise=tuple(otherwise)
    )
    share = float(overlap(q, p).mean())
    return EdgeTrace(source="a", target="b", text_of="d", texts_key="k", acceptance=share, texts=(text,))


def replayed(costs: Sequence[float], traces: Sequence[EdgeTrace], lengths: Sequence[int]) -> Replayed:
    """With fixed lengths."""
    return Replay(ChainCosts.flat(*costs), traces).run(DraftLengths.fixed(*lengths))


def test_four_models_take_what_they_are_foreseen_to(rows: list[Rows]) -> None:
    """
    Each level's forwards a token are foreseen within the noise of a text of 2,500 tokens.
    """
    traces = [
        edge_trace(rows[place], rows[place + 1], rows[3], above=rows[place + 2] if place < 2 else None)
        for place in range(3)
    ]

    found = replayed(MS, traces, (2, 3, 4))

    drawn = Drawn(rows, (2, 3, 4)).decode(3 * PLACES)
    assert [count / found.tokens for count in found.forwards] == pytest.approx(drawn, rel=0.06)


def test_whose_level_stood_above_hardly_matters(rows: list[Rows]) -> None:
    """
    Of four models measured together a chain of three may be replayed with the missing one above its lowest edge: what
    it takes is foreseen within two per cent of what its own trace foresees, and near what it does.
    """
    lowest, middle, left_out, last = rows
    costs = (MS[0], MS[1], MS[3])
    top = edge_trace(middle, last, last, above=None)
    seconds = [
        replayed(costs, [edge_trace(lowest, middle, last, above=above), top], (3, 6)).seconds_per_token
        for above in (last, left_out)
    ]

    drawn = Drawn([lowest, middle, last], (3, 6)).decode(3 * PLACES)

    assert seconds[1] == pytest.approx(seconds[0], rel=0.02)
    assert seconds[1] == pytest.approx(sum(map(float.__mul__, drawn, costs)), rel=0.05)
