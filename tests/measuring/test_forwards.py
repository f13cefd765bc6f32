"""Times of forwards, and what tokens and rounds take beside them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from heads import AcceptancePredictionHead, Cascade
from heads.engines.captured import CapturedLevel
from heads.engines.eager import EagerLevel
from heads.generation import Generation, LevelReport
from heads.measuring.chains import chain_seconds
from heads.measuring.clock import Clock
from heads.measuring.edges import RoundSeconds, question_seconds, round_seconds
from heads.measuring.effort import Effort
from heads.measuring.forwards import decoding_seconds, forward_seconds, outside_forwards, roles_differ
from heads.measuring.middle import middle_seconds, middle_times
from registry.planning.timing import ForwardTime, ForwardTimes
from tests.heads.models import VOCAB, chain, random_head, tiny

LITTLE = Effort(passes=1, forwards=3, seconds=1.0, runs=3, tokens=6, head=1)
PROMPT = [3, 1, 4, 1, 5]


def times_of(name: str, *, each: float, prompt: float, outside: float = 0.0) -> ForwardTimes:
    """A model all of whose short queries take the same time."""
    times = [ForwardTime(query=count, cached=64, seconds=each) for count in (1, 16)]
    times += [ForwardTime(query=32, cached=0, seconds=prompt)]
    return ForwardTimes(model=name, times=tuple(times), outside={"greedy": outside, "sampled": outside})


def test_times_stay_within_what_a_model_was_made_for() -> None:
    """
    No position past its bound is fed; where there is room, the cache is short and long, and prompts have none.
    """
    wide, narrow = (
        forward_seconds(EagerLevel(tiny(max_position_embeddings=bound), name="m"), LITTLE)
        for bound in (600, 40)
    )

    assert {cached for _, cached in wide} == {0, 64, 512}
    assert {query for query, cached in wide if cached == 512} == {1, 2, 3, 4, 6, 8, 12, 16}
    assert {query for query, cached in wide if not cached} == {32, 128}
    assert {cached for _, cached in narrow} == {0, 24}
    assert all(query + cached <= 40 for query, cached in narrow)
    assert all(seconds > 0 for seconds in (*wide.values(), *narrow.values()))


def forwards_of_a_slow(monkeypatch: pytest.MonkeyPatch, lengths: range) -> dict[tuple[int, int], float]:
    """Times of a model that takes its time over queries of these lengths."""
    level = EagerLevel(tiny(max_position_embeddings=40), name="m")
    feed = level.feed

    def slow(ids: Any, rows: int) -> Any:
        time.sleep(0.03 * (len(ids) in lengths))
        return feed(ids, rows)

    monkeypatch.setattr(level, "feed", slow)
    return forward_seconds(level, LITTLE)


def test_a_slower_model_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What is timed is the forward itself.
    """
    times = forwards_of_a_slow(monkeypatch, range(3, 17))

    assert times[3, 24] - times[2, 24] > 0.01


def test_no_query_is_told_to_be_dearer_than_a_longer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It could be padded to that: what was slower was a moment of the machine.
    """
    times = forwards_of_a_slow(monkeypatch, range(3, 4))

    assert times[3, 24] <= times[4, 24] < 0.01


def test_a_token_costs_more_than_its_forward() -> None:
    """
    Row, draw and loop take time too, less than all of it; by the clock in the forwards, or by times measured before.
    """
    cascade = Cascade(chain(count=2), names=["draft", "target"])

    found = outside_forwards(cascade, 0, PROMPT, effort=LITTLE)
    told = outside_forwards(cascade, 0, PROMPT, effort=LITTLE, times=times_of("draft", each=0.0, prompt=0.0))
    impossible = outside_forwards(
        cascade, 0, PROMPT, effort=LITTLE, times=times_of("draft", each=1.0, prompt=1.0)
    )

    assert found.keys() == {"greedy", "sampled"}
    assert all(0 < found[way] < told[way] for way in found)
    assert max(impossible.values()) < 0


def test_a_text_takes_what_its_forwards_take() -> None:
    """
    The prompt's of each model, then so many of the draft's with one token and of the target's with a whole proposal.
    """
    levels = [
        LevelReport(model=name, forwards=count, proposed=None, accepted=None)
        for name, count in (("draft", 21), ("target", 6))
    ]
    out = Generation(
        token_ids=[1] * 20,
        text=None,
        finish_reason="length",
        seconds=1.0,
        prompt_tokens=32,
        levels=tuple(levels),
    )
    times = [times_of("draft", each=0.001, prompt=0.01), times_of("target", each=0.005, prompt=0.07)]

    assert decoding_seconds(out, times, query=5) == pytest.approx(0.01 + 20 * 0.001 + 0.07 + 5 * 0.005)


def test_rounds_leave_what_forwards_do_not_explain() -> None:
    """
    A verification takes what is left of a round, less than nothing where more was explained than passed.
    """
    cascade = Cascade(chain(count=2), names=["draft", "target"])
    free, dear = (
        round_seconds(
            cascade,
            (0, 1),
            PROMPT,
            times=[times_of(name, each=0.0, prompt=0.0, outside=outside) for name in cascade.names],
            effort=LITTLE,
        )
        for outside in (0.0, 1.0)
    )

    assert min(free.verify.values()) + free.step > 0
    assert max(dear.verify.values()) < 0


def test_steps_and_rounds_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What every forward of the draft takes more is each step's; what comes once a round is the round's.
    """
    cascade = Cascade(chain(count=2), names=["draft", "target"])
    for level, pause in zip(cascade._levels, (0.003, 0.012), strict=True):
        monkeypatch.setattr(level, "feed", late(level.feed, pause))

    found = round_seconds(
        cascade,
        (0, 1),
        PROMPT,
        times=[times_of(name, each=0.0, prompt=0.0) for name in cascade.names],
        effort=LITTLE,
    )

    assert 0.003 < found.step < 0.007
    assert min(found.verify.values()) > 0.008


def late(feed: Callable[..., Any], pause: float) -> Callable[..., Any]:
    """The same, after a pause."""

    def fed(*given: Any) -> Any:
        time.sleep(pause)
        return feed(*given)

    return fed


def test_questions_follow_forwards() -> None:
    """
    A question is timed as decoding asks it, of what a forward has just shown: by itself it would be answered sooner.
    """
    level, head = EagerLevel(tiny(), name="m"), random_head()
    seen: list[torch.Tensor] = []

    class Curious(AcceptancePredictionHead):
        def acceptance(self, hidden: torch.Tensor) -> torch.Tensor:
            seen.append(hidden.clone())
            assert level.length == 2
            return super().acceptance(hidden)

    found = question_seconds(Curious(head.config), level, vocab_size=VOCAB, effort=LITTLE)

    assert min(found.values()) > 0
    assert all(bool(hidden.abs().sum() > 0) for hidden in seen)


def test_a_long_chain_is_measured_as_one() -> None:
    """
    What a chain of three takes beside its edges is told by running it: less, as more is explained.
    """
    cascade = Cascade(chain(count=3), names=["little", "draft", "target"])
    nothing, much = (
        chain_seconds(
            cascade,
            PROMPT,
            times=[times_of(name, each=0.0, prompt=0.0) for name in cascade.names],
            rounds=[RoundSeconds(verify={"greedy": each, "sampled": each}, step=0.0)] * 2,
            effort=LITTLE,
        )
        for each in (0.0, 1.0)
    )

    assert nothing > 0
    assert much < 0


def test_the_middle_pass_counts() -> None:
    """
    A slow pass and a fast one move nothing, and what comes out below nothing is nothing.
    """
    passes = [times_of("m", each=each, prompt=0.1 + each) for each in (0.001, 0.009, 0.002)]

    times = middle_times(passes)

    assert (times.seconds(1, 64), times.seconds(16, 64)) == (0.002, 0.002)
    assert times.seconds(32) == pytest.approx(0.102)
    found = middle_seconds([{"greedy": one, "sampled": -one} for one in (0.3, -0.2, 0.1)])
    assert found == {"greedy": 0.1, "sampled": 0.0}


def test_a_clock_times_all_models_and_all_pairs() -> None:
    """
    Each model in both roles, alike where they are run alike; each pair, with the head that it has.
    """
    cascade = Cascade(chain(count=3), names=["little", "draft", "target"])
    clock = Clock(cascade, {(0, 2): ("a", random_head())}, PROMPT, LITTLE)
    told: list[str] = []

    clock.run(told.append)

    assert len(told) == clock.steps == 7
    assert clock.chain is not None
    assert clock.chain.models == ("little", "draft", "target")
    for place, name in enumerate(cascade.names):
        below, above = (clock.forwards(place)[role] for role in (False, True))
        assert (below.model, below.as_target, above.as_target) == (name, False, True)
        assert below.times == above.times
        assert set(below.outside) == {"greedy", "sampled"}
    rounds = [clock.rounds(places) for places in clock.edges]
    assert [(one.source, one.target) for one in rounds] == [
        ("little", "draft"),
        ("little", "target"),
        ("draft", "target"),
    ]
    assert [(one.head_name, one.question("greedy") > 0) for one in rounds] == [
        (None, False),
        ("a", True),
        (None, False),
    ]


def test_roles_differ_where_padding_does() -> None:
    """
    On a CPU in float32 a target is run as a draft is; in bfloat16 a captured one pads all its queries alike.
    """
    single = CapturedLevel(tiny(), name="m", recorded=False)
    half = CapturedLevel(tiny().to(torch.bfloat16), name="m", recorded=False)  # type: ignore[arg-type]

    assert not roles_differ(single)
    assert roles_differ(half)
    assert not roles_differ(EagerLevel(half.model, name="m"))


def test_passes_that_tell_different_stories_are_named() -> None:
    """
    A model whose middle passes lie far apart, and an edge whose rounds do: nobody can plan by them.
    """
    cascade = Cascade(chain(count=2), names=["draft", "target"])
    clock = Clock(cascade, {}, PROMPT, LITTLE)
    edge = clock._edges[0, 1]
    passes = {
        name: [dict.fromkeys((False, True), times_of(name, each=each, prompt=0.1)) for each in several]
        for name, several in {"draft": (0.01, 0.011, 0.01), "target": (0.02, 0.02, 0.04)}.items()
    }
    clock._models[0].passes, clock._models[1].passes = passes["draft"], passes["target"]
    edge.rounds = [RoundSeconds(verify={"greedy": 0.01, "sampled": 0.01}, step=0.0)] * 3
    assert clock.unsteady == ["target"]

    clock._models[1].passes = passes["target"][:2]
    edge.rounds = [
        RoundSeconds(verify={"greedy": seconds, "sampled": 0.01}, step=0.0) for seconds in (0.0, 0.01, 0.09)
    ]
    assert clock.unsteady == ["draft--to--target"]
