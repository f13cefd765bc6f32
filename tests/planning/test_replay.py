"""What is replayed is what decoding does: the very rounds, on scripted levels and on the embedded family."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heads.edge import Edge
from heads.rounds import Rounds
from heads.sampling import Greedy
from registry.planning.costs import ChainCosts
from registry.planning.lengths import DraftLengths
from registry.planning.replay import Replay, Replayed
from registry.planning.trace import EdgeTrace, TextTrace
from registry.records import Outlook
from tests.planning.scripted import ScriptedHead, ScriptedLevel

TOKENS = 12
PAST = 12  # places that are proposed past the end
COSTS = (1.0, 10.0, 100.0, 1000.0)
# what the head says of tokens that were read, and how sure the level is of the last one
AS_SAID = Outlook(head=1.0, confidence=0.0, bias=0.0, next_confidence=1.0, next_bias=0.0)
Chain = tuple[list[list[int]], list[list[float] | None], DraftLengths, list[float] | None, bool]


def edge_trace(
    said: list[int], above: list[int], numbers: list[float] | None, sure: list[float] | None = None
) -> EdgeTrace:
    """The trace of an edge whose two levels say these tokens."""
    kept = tuple(float(one == other) for one, other in zip(said[:TOKENS], above[:TOKENS], strict=True))
    foreseen = tuple(numbers[:TOKENS]) if numbers else ()
    text = TextTrace(
        prompt_tokens=1,
        kept=kept,
        kept_otherwise=kept,
        foreseen_kept=foreseen,
        foreseen_refused=foreseen,
        next_foreseen=tuple(sure[:TOKENS]) if foreseen and sure else (),
    )
    return EdgeTrace(
        source="a", target="b", text_of="c", texts_key="k", head_name="h", acceptance=0.5, texts=(text,)
    )


def decoded(
    script: list[list[int]],
    numbers: list[list[float] | None],
    lengths: DraftLengths,
    sure: list[float] | None,
    ahead: bool,
) -> tuple[Rounds, list[ScriptedLevel], list[ScriptedHead | None]]:
    """The real rounds over scripted levels."""
    levels = [ScriptedLevel(str(place), said, sure) for place, said in enumerate(script)]
    heads = [None if one is None else ScriptedHead(one) for one in numbers]
    edges = [
        Edge(
            head=head,
            min_draft=least,
            max_draft=most,
            threshold=limit,
            outlook=AS_SAID if sure is not None and head is not None else None,
        )
        for head, least, most, limit in zip(
            heads, lengths.min_draft, lengths.max_draft, lengths.threshold, strict=True
        )
    ]
    rounds = Rounds(
        levels=levels,
        edges=edges,
        rule=Greedy(),
        prompt=[0],
        end_tokens=frozenset(),
        vocab_size=4,
        ahead=ahead,
    )
    done = 0
    while done < TOKENS:
        done += len(rounds.commit(TOKENS - done))
    return rounds, levels, heads


@st.composite
def chains(draw: st.DrawFn) -> Chain:
    """What up to four levels say, what their heads answer, how long they draft, how sure of it they are, and whether
    the lowest drafts ahead of the host.
    """
    count = draw(st.integers(1, 4))
    # mostly the same token, so that a good share is kept
    token = st.sampled_from([1, 1, 1, 2, 3])
    script = [draw(st.lists(token, min_size=TOKENS + PAST, max_size=TOKENS + PAST)) for _ in range(count)]
    # eighths multiply without rounding, so that a threshold is passed or not in both
    number = st.sampled_from([0.25, 0.5, 0.75, 0.875, 1.0])
    answers = st.lists(number, min_size=TOKENS + PAST, max_size=TOKENS + PAST)
    numbers: list[list[float] | None] = [draw(st.none() | answers) for _ in range(count - 1)]
    least = [draw(st.integers(1, 4)) for _ in range(count - 1)]
    lengths = DraftLengths(
        min_draft=tuple(least),
        max_draft=tuple(one + draw(st.integers(0, 5)) for one in least),
        threshold=tuple(draw(st.sampled_from([0.0, 0.3, 0.6, 0.8, 1.0])) for _ in least),
    )
    odds = st.sampled_from([0.5, 0.75, 0.875, 0.9375])
    sure = st.lists(odds, min_size=TOKENS + PAST, max_size=TOKENS + PAST)
    return script, numbers, lengths, draw(st.none() | sure), draw(st.booleans())


@given(chains())
@settings(max_examples=120, deadline=None)
def test_rounds_are_those_of_decoding(chain: Chain) -> None:
    """
    Forwards, their lengths, tokens proposed and kept, and questions to heads are those of the real rounds.
    """
    script, numbers, lengths, sure, ahead = chain
    rounds, levels, heads = decoded(script, numbers, lengths, sure, ahead)
    traces = [
        edge_trace(said, above, answers, sure)
        for (said, above), answers in zip(pairwise(script), numbers, strict=True)
    ]
    asking = ChainCosts(
        forwards=tuple((0.0, *(0.0 for _ in range(32))) for _ in script),
        verify=(0.0,) * len(traces),
        heads=(1.0,) * len(traces),
        prompt=(0.0,) * len(script),
    )
    querying = ChainCosts(
        forwards=tuple(
            tuple(float(scale * query) for query in range(33))
            for scale in (1, 97, 9973, 999983)[: len(script)]
        ),
        verify=(0.0,) * len(traces),
        heads=(0.0,) * len(traces),
        prompt=(0.0,) * len(script),
    )

    found = played(querying, traces, lengths, ahead)

    assert found.forwards == tuple(level.forwards for level in levels)
    assert found.proposed == tuple(tally.proposed for tally in rounds.tallies)
    assert found.accepted == tuple(tally.accepted for tally in rounds.tallies)
    assert found.seconds == sum(
        scale * sum(level.queries) for scale, level in zip((1, 97, 9973, 999983), levels, strict=False)
    )
    assert played(asking, traces, lengths, ahead).seconds == sum(
        head.questions for head in heads if head is not None
    )


def played(
    costs: ChainCosts, traces: list[EdgeTrace], lengths: DraftLengths, ahead: bool = False
) -> Replayed:
    """Replayed; a model alone has a text of the same length."""
    return Replay(costs, traces, prompts=[(1, TOKENS)], ahead=ahead).run(lengths)


def test_a_chain_costs_what_its_forwards_cost() -> None:
    """
    Two levels that agree, four tokens a round: two rounds of five tokens, then one whose budget leaves one to draft.
    """
    said = [1] * (TOKENS + PAST)

    found = played(ChainCosts.flat(1.0, 10.0), [edge_trace(said, said, None)], DraftLengths.fixed(4))

    assert found.forwards == (4 + 4 + 1, 3)
    assert found.seconds == pytest.approx(9 + 30)


def test_what_an_early_step_wastes_is_counted() -> None:
    """
    Where a step is launched before the last one's answer, a stop by a head costs a whole one: forward and draw.
    """
    said = [1] * (TOKENS + PAST)
    traces = [edge_trace(said, said, [0.25] * (TOKENS + PAST))]
    lengths = DraftLengths(min_draft=(1,), max_draft=(8,), threshold=(0.5,))
    costs = replace(ChainCosts.flat(1.0, 10.0), draw=0.5)

    waiting = Replay(costs, traces).run(lengths)
    late = Replay(costs, traces, ahead=True).run(lengths)
    ahead = Replay(costs, traces, ahead=True, early=True).run(lengths)

    assert ahead.proposed == waiting.proposed
    in_vain = ahead.forwards[0] - waiting.forwards[0]
    assert in_vain > 0
    assert ahead.seconds - waiting.seconds == pytest.approx(in_vain * 1.5)
    assert late.forwards == waiting.forwards


def test_chance_decides_by_shares() -> None:
    """
    Tokens are kept as often as their shares say: here 0.75 of first proposals, within the noise of 4 passes.
    """
    text = TextTrace(prompt_tokens=1, kept=(0.75,) * 4000)
    trace = EdgeTrace(source="a", target="b", text_of="b", texts_key="k", acceptance=0.75, texts=(text,))

    found = Replay(ChainCosts.flat(1.0, 10.0), [trace]).run(DraftLengths.fixed(1))

    assert found.acceptance[0] == pytest.approx(0.75, abs=0.02)


def test_the_same_texts_give_the_same_answer() -> None:
    """
    What is left to chance is drawn alike each time, so that lengths are compared on the same texts.
    """
    text = TextTrace(prompt_tokens=1, kept=(0.5,) * 200)
    trace = EdgeTrace(source="a", target="b", text_of="b", texts_key="k", acceptance=0.5, texts=(text,))
    runs = [Replay(ChainCosts.flat(1.0, 10.0), [trace]).run(DraftLengths.fixed(3)) for _ in range(2)]

    assert runs[0] == runs[1]
