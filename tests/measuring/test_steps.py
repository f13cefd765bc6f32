"""What a step of drafting ahead of the host takes, and that a plan and its measurements count it alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from heads import AcceptancePredictionHead, Cascade
from heads.edge import Edge
from heads.engines.eager import EagerLevel
from heads.generation import Generation, LevelReport
from heads.measuring.chains import explained_seconds
from heads.measuring.clock import Clock
from heads.measuring.edges import RoundSeconds, round_seconds
from heads.measuring.effort import Effort
from heads.measuring.steps import REHEARSED, STEPS, draft_steps, question_steps, step_seconds
from heads.sampling import Greedy
from registry.planning.costs import ChainCosts
from registry.planning.timing import EdgeTimes, ForwardTime, ForwardTimes
from tests.heads.models import VOCAB, chain, random_head, tiny

LITTLE = Effort(passes=1, forwards=1, seconds=0.0, runs=1, tokens=8, head=1)
TURNS = 7  # their median is taken: in one of them this machine may have had something else to do
SEVERAL = Effort(passes=1, forwards=1, seconds=60.0, runs=1, tokens=8, head=TURNS)
PROMPT = [3, 1, 4, 1, 5]
PAUSE = 0.005
WAYS = {"greedy", "sampled"}


class SlowGreedy(Greedy):
    """Greedy rows of a host that takes its time over each."""

    def rows(self, logits: Tensor) -> Tensor:
        """Late."""
        time.sleep(PAUSE)
        return super().rows(logits)


class SlowHead(AcceptancePredictionHead):
    """Takes its time to say that no token is going to be kept."""

    asked = 0

    def acceptance(self, hidden: Tensor) -> Tensor:
        """(n, hidden) -> (n,), zeros."""
        self.asked += 1
        time.sleep(PAUSE)
        return torch.zeros(len(hidden))


@pytest.fixture(scope="module")
def level() -> EagerLevel:
    """A tiny model."""
    return EagerLevel(tiny(), name="m")


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains draft ahead of the host here, as they do on an accelerator."""

    def waits(model: PreTrainedModel) -> bool:
        del model
        return True

    monkeypatch.setattr("heads.cascade._waits", waits)


def slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the host slow where it drafts ahead, and nowhere else: there alone one token is fed that it has not seen."""
    feed = EagerLevel.feed

    def slow(self: EagerLevel, token_ids: Sequence[int] | Tensor, rows: int) -> Any:
        time.sleep(PAUSE * (rows == 1 and isinstance(token_ids, Tensor)))
        return feed(self, token_ids, rows)

    monkeypatch.setattr(EagerLevel, "feed", slow)


def flat(name: str, seconds: float, *, outside: float, ahead: float | None = None) -> ForwardTimes:
    """Forwards that all take the same, and what stands beside them."""
    times = tuple(
        ForwardTime(query=query, cached=cached, seconds=seconds) for query in (1, 32) for cached in (0, 64)
    )
    return ForwardTimes(
        model=name,
        times=times,
        outside=dict.fromkeys(WAYS, outside),
        ahead={} if ahead is None else dict.fromkeys(WAYS, ahead),
    )


def test_a_step_has_the_work_of_the_host_in_it(level: EagerLevel) -> None:
    """
    A rule that takes its time over a row makes each step longer by that.
    """
    edge = Edge(head=None, min_draft=1, max_draft=max(STEPS), threshold=1.0)

    found = step_seconds(
        level, {"slow": (SlowGreedy(), edge), "quick": (Greedy(), edge)}, vocab_size=VOCAB, effort=SEVERAL
    )

    assert found["quick"] > 0
    assert found["slow"] - found["quick"] > PAUSE / 2


def test_a_question_is_what_a_step_takes_more_by_it(level: EagerLevel) -> None:
    """
    All of what the head takes, at every step but the first, though it says of each token that it is not kept.
    """
    head = SlowHead({"hidden_size": 16, "num_layers": 1})

    found = question_steps(level, head, vocab_size=VOCAB, effort=SEVERAL)

    assert found.keys() == WAYS
    assert min(found.values()) > PAUSE / 2
    drafts = (REHEARSED + TURNS) * len(found)  # by each way those that do not count, and those that do
    assert head.asked == drafts * sum(steps - 1 for steps in STEPS)


def test_a_text_that_was_begun_is_over(level: EagerLevel) -> None:
    """
    What was drafted is taken back each time; steps are told of both ways to draw, none of a model without room.
    """
    narrow = EagerLevel(tiny(max_position_embeddings=16), name="m")

    assert draft_steps(level, vocab_size=VOCAB, effort=LITTLE).keys() == WAYS
    assert level.length == 0
    assert draft_steps(narrow, vocab_size=VOCAB, effort=LITTLE) == {}


@pytest.mark.usefixtures("ahead")
def test_models_that_draft_ahead_are_timed_so() -> None:
    """
    Every model as one that drafts, none as a target, and the question where there is a head.
    """
    cascade = Cascade(chain(count=2), names=["draft", "target"])
    clock = Clock(cascade, {(0, 1): ("a", random_head())}, PROMPT, LITTLE)

    clock.run()

    for place in range(2):
        below, above = (clock.forwards(place)[role] for role in (False, True))
        assert below.ahead.keys() == WAYS
        assert above.ahead == {}
    assert clock.rounds((0, 1)).ahead.keys() == WAYS


def test_a_host_that_waits_has_no_steps_ahead() -> None:
    """
    On a CPU nothing drafts ahead, and nothing is measured of it.
    """
    clock = Clock(Cascade(chain(count=2)), {(0, 1): ("a", random_head())}, PROMPT, LITTLE)

    clock.run()

    assert all(clock.forwards(place)[role].ahead == {} for place in range(2) for role in (False, True))
    assert clock.rounds((0, 1)).ahead == {}


@pytest.mark.usefixtures("ahead")
def test_longer_drafts_are_foreseen_to_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where the host is slow in drafting ahead alone, no forward and no plain text shows it: a chain's long drafts, timed
    with short ones, are still explained to at least what their steps took.
    """
    slow_steps(monkeypatch)
    cascade = Cascade(chain(count=2), names=["draft", "target"])
    clock = Clock(cascade, {}, PROMPT, LITTLE)

    clock.run()
    out = cascade.generate(PROMPT, max_new_tokens=24, max_draft=12, schedule="fixed", eos_token_id=[])

    times = [clock.forwards(0)[False], clock.forwards(1)[True]]
    rounds = clock.rounds((0, 1))
    explained = explained_seconds(
        out, times, [RoundSeconds(verify=rounds.verify, step=rounds.step)], "greedy"
    )
    drafts = out.levels[1].forwards
    assert out.levels[0].forwards > 6 * drafts
    assert explained > 0.9 * PAUSE * (out.levels[0].forwards - drafts)


@pytest.mark.usefixtures("ahead")
def test_what_steps_take_no_verification_takes() -> None:
    """
    A drafted token that is dearer leaves less of a round: it is not counted twice.
    """
    cascade = Cascade(chain(count=2), names=["draft", "target"])
    target = flat("target", 0.0, outside=0.0)

    free, dear = (
        round_seconds(
            cascade,
            (0, 1),
            PROMPT,
            times=[flat("draft", 0.0, outside=0.0, ahead=step), target],
            effort=LITTLE,
        )
        for step in (0.0, 1.0)
    )

    assert min(free.verify.values()) > 0 > max(dear.verify.values())
    assert free.step == dear.step == 0


@pytest.mark.parametrize("step", [None, 0.02, 0.0005], ids=["waiting", "slower", "faster than a forward"])
def test_texts_are_explained_as_a_plan_counts_them(step: float | None) -> None:
    """
    Forwards, drafted tokens and rounds of a text add up to one sum, by its measurements and by the costs of a plan.
    """
    forwards = (41, 9, 6)
    proposed = (3 * forwards[1], 7 * forwards[2], None)
    out = Generation(
        token_ids=[1] * 20,
        text=None,
        finish_reason="length",
        seconds=1.0,
        prompt_tokens=32,
        levels=tuple(
            LevelReport(model="m", forwards=count, proposed=tokens, accepted=tokens)
            for count, tokens in zip(forwards, proposed, strict=True)
        ),
    )
    times = [
        flat("little", 0.001, outside=0.0002, ahead=step),
        flat("draft", 0.004, outside=0.0, ahead=step),
        flat("target", 0.03, outside=0.0),
    ]
    verify = [{"greedy": 0.0003, "sampled": 0.0}, {"greedy": 0.0007, "sampled": 0.0}]
    steps = [0.0 if step else 0.0004, 0.0001]
    edges = [
        EdgeTimes(source="a", target="b", verify=one, step=each)
        for one, each in zip(verify, steps, strict=True)
    ]
    rounds = [RoundSeconds(verify=one, step=each) for one, each in zip(verify, steps, strict=True)]

    costs = ChainCosts.measured(times, edges, greedy=True, cached=64)

    planned = sum(count * costs.forward(level, 1) for level, count in enumerate(forwards))
    planned += forwards[0] * costs.draw + sum(
        count * beside for count, beside in zip(forwards[1:], costs.verify, strict=True)
    )
    assert explained_seconds(out, times, rounds, "greedy") == pytest.approx(planned)
    assert costs.forward(0, 1) + costs.draw == pytest.approx(0.0016 if step is None else step)
