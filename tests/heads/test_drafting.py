"""Drafting ahead of the host, by real models: what an accelerator does, done on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Any, Literal

import pytest
import torch
from transformers import PreTrainedModel

from heads import Cascade
from heads.advance import Advance
from heads.drafting import Flag, Step, Steps
from heads.edge import Edge
from heads.engines.beside import KINDS_KEPT, Beside
from heads.engines.captured import CapturedLevel
from heads.level import Fed
from heads.pace import Late
from heads.runtime import warm_up
from heads.sampling import Greedy, Seeded, winner
from heads.sending import received
from registry.errors import GenerationError
from registry.records import Calibration, Outlook
from tests.heads.models import chain, random_head

PROMPT = [7, 3, 11, 2]
Engine = Literal["eager", "captured"]


def ahead(models: list[PreTrainedModel], engine: Engine = "eager") -> Cascade:
    """A cascade that drafts as it would on an accelerator."""
    heads = [random_head(seed=index) for index in range(len(models) - 1)]
    cascade = Cascade(models, heads, engine=engine)
    cascade.ahead = True
    return cascade


@pytest.mark.parametrize(
    ("engine", "count", "threshold"),
    [
        *(("eager", count, threshold) for count in (2, 3) for threshold in (0.3, 0.7, 1.0)),
        ("captured", 2, 0.5),  # recording takes its time
    ],
)
def test_greedy_text_and_counts_are_those_of_a_host_that_waits(
    engine: Engine, count: int, threshold: float
) -> None:
    """
    The same text, proposals and acceptances; only forwards in vain may come on top, one a draft at most, and none
    where nothing is recorded.
    """
    models = chain(count=count, noise=0.05)
    waiting = Cascade(models, [random_head(seed=index) for index in range(count - 1)], engine=engine)
    options: dict[str, Any] = {
        "max_new_tokens": 24,
        "threshold": threshold,
        "max_draft": 4,
        "eos_token_id": [],
    }

    expected = waiting.generate(PROMPT, **options)
    found = ahead(models, engine).generate(PROMPT, **options)

    assert found.token_ids == expected.token_ids
    told = [[(one.proposed, one.accepted_at) for one in out.levels] for out in (found, expected)]
    assert told[0] == told[1]
    drafts = expected.levels[0].proposed_at[0] if engine == "captured" else 0
    assert 0 <= found.levels[0].forwards - expected.levels[0].forwards <= drafts


class Early(Late):
    """Every step before the last one's answer."""

    def begin(self) -> bool:
        """See `Late`."""
        return True


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_when_steps_are_launched_changes_nothing_that_is_told(
    monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    """
    Early or late: the same text by one seed, the same proposals; early takes a forward more for each stopped draft.
    """
    models = chain(count=2, noise=0.05)
    found = []
    for pace in (Early, Late):
        monkeypatch.setattr("heads.drafting.Quicker", pace)
        found.append(
            ahead(models, "captured").generate(
                PROMPT, max_new_tokens=40, max_draft=6, threshold=0.5, temperature=temperature, seed=3
            )
        )
    early, late = found

    assert early.token_ids == late.token_ids
    assert [one.accepted_at for one in early.levels] == [one.accepted_at for one in late.levels]
    assert [one.proposed_at for one in early.levels] == [one.proposed_at for one in late.levels]
    in_vain = early.levels[0].forwards - late.levels[0].forwards
    assert 0 < in_vain <= late.levels[0].proposed_at[0]


def raced(randomness: Seeded, weights: torch.Tensor) -> torch.Tensor:
    """A draw as an accelerator makes it."""
    return winner(weights, randomness.races(1, len(weights), weights.device)[0])


@pytest.mark.parametrize("calibrated", [False, True], ids=["published rule", "outlook"])
def test_of_a_device_one_thing_is_read_a_round(monkeypatch: pytest.MonkeyPatch, *, calibrated: bool) -> None:
    """
    Whatever is verified, drafted and said at a level comes in one piece; besides it, the answers that may stop a draft.
    """
    cascade = ahead(chain(count=3, noise=0.05), "captured")
    for head in cascade.heads:
        assert head is not None
        head.calibration = (
            Calibration(scale=1.0, bias=0.0, greedy=OUTLOOK, sampled=OUTLOOK) if calibrated else None
        )
    options: dict[str, Any] = {"max_new_tokens": 24, "max_draft": 4, "temperature": 0.8, "seed": 1}
    monkeypatch.setattr(Seeded, "_looked_up", raced)
    cascade.generate(PROMPT, **options)  # what is recorded is looked at freely
    read: list[str] = []
    within: list[str] = []

    def whole(name: str, reading: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any) -> Any:
            read.append(name)
            within.append(name)
            try:
                return reading(*given)
            finally:
                within.pop()

        return counted

    def part(reading: Callable[..., Any]) -> Callable[..., Any]:
        def looked(*given: Any) -> Any:
            assert within
            return reading(*given)

        return looked

    monkeypatch.setattr("heads.rounds.received", whole("round", received))
    monkeypatch.setattr(Flag, "read", whole("answer", Flag.read))
    monkeypatch.setattr(Seeded, "_generator", whole("seed", Seeded._generator))  # of the host
    for method in ("tolist", "item", "__int__", "__float__", "__bool__"):
        monkeypatch.setattr(torch.Tensor, method, part(getattr(torch.Tensor, method)))

    out = cascade.generate(PROMPT, **options)

    assert read.count("round") == sum(level.forwards for level in out.levels[1:])
    assert 0 < read.count("answer") <= out.levels[0].forwards


OUTLOOK = Outlook(head=0.6, confidence=0.5, bias=0.2, next_confidence=0.7, next_bias=0.4)
ADVICE: dict[str, dict[str, Any]] = {
    "heads": {"threshold": 0.5},
    "outlook": {"threshold": 0.4, "min_draft": 2},
    "confidence": {"schedule": "confidence", "threshold": 0.5},
    "fixed": {"schedule": "fixed"},
}


@pytest.fixture(scope="module")
def both() -> tuple[Cascade, Cascade]:
    """Two cascades over the same models; of the second only forwards are recorded."""
    models = chain(count=2, noise=0.05)
    return ahead(models, "captured"), ahead(models, "captured")


@pytest.mark.parametrize(("advice", "temperature"), list(product(ADVICE, (0.0, 0.8))), ids=str)
def test_a_recorded_step_does_what_the_step_does(
    both: tuple[Cascade, Cascade], advice: str, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Whatever advises it: the same tokens by the same seed, the same proposals and the same forwards.
    """
    told: list[object] = []
    for cascade, recorded in zip(both, (True, False), strict=True):
        for head in cascade.heads:
            assert head is not None
            head.calibration = (
                Calibration(scale=1.0, bias=0.0, greedy=OUTLOOK, sampled=OUTLOOK)
                if advice == "outlook"
                else None
            )
        if not recorded:
            monkeypatch.setattr(CapturedLevel, "recorded", lambda _self, step, *_examples: step)
        out = cascade.generate(
            PROMPT,
            max_new_tokens=24,
            max_draft=5,
            seed=3,
            temperature=temperature,
            eos_token_id=[9],
            **ADVICE[advice],
        )
        told.append((out.token_ids, [(one.proposed_at, one.accepted_at, one.forwards) for one in out.levels]))
        level = cascade._levels[0]
        assert isinstance(level, CapturedLevel)
        assert level.refusal is None

    assert told[0] == told[1]


def test_what_was_interrupted_is_recorded_by_the_next_text() -> None:
    """
    A step whose recording never ended is no recorded one, nor one that cannot be.
    """
    edge = Edge(head=None, min_draft=1, max_draft=4, threshold=1.0)
    options: dict[str, Any] = {"vocab_size": 5, "room": 4, "device": torch.device("cpu")}
    tried = []

    def record(step: Step, *_examples: torch.Tensor) -> Step:
        tried.append(step)
        if len(tried) == 1:
            raise KeyboardInterrupt
        return partial(step)  # another one than the step itself

    steps = Steps(Advance(edge=edge, rule=Greedy(), end_tokens=frozenset(), **options), record)
    fed = Fed(logits=torch.zeros(1, 5), hidden=torch.zeros(1, 2))
    with pytest.raises(KeyboardInterrupt):
        steps.take(fed, None, first=False)
    for _ in range(2):
        steps.take(fed, None, first=False)

    assert len(tried) == 2
    assert steps.recorded


def test_drafts_of_one_kind_share_what_is_recorded() -> None:
    """
    Texts of many drafts, of up to eight tokens each: the first step of a draft and a further one; longer ones anew.
    """
    cascade = ahead(chain(count=2, noise=0.05), "captured")
    level = cascade._levels[0]
    assert isinstance(level, CapturedLevel)
    kinds = []
    for longest in (3, 7, 9):
        cascade.generate(PROMPT, max_new_tokens=24, schedule="fixed", max_draft=longest)
        kinds.append(len(level.beside))

    assert kinds == [1, 1, 2]
    level.forget()
    assert len(level.beside) == 0


def test_of_kinds_the_last_few_are_kept() -> None:
    """
    What was used longest ago is made anew.
    """
    beside, made = Beside(), []

    def make(kind: int) -> int:
        return beside.of(kind, lambda: made.append(kind) or kind)  # type: ignore[func-returns-value]

    assert [make(kind) for kind in (*range(KINDS_KEPT), 0, KINDS_KEPT, 0, 1)] == [
        *range(KINDS_KEPT),
        0,
        KINDS_KEPT,
        0,
        1,
    ]
    assert made == [*range(KINDS_KEPT), KINDS_KEPT, 1]


def test_an_end_token_stops_the_draft() -> None:
    """
    Nothing after an end token is proposed, though steps after it may have run.
    """
    models = chain(count=2, noise=0.02)
    cascade = ahead(models)
    text = cascade.generate(PROMPT, max_new_tokens=12, eos_token_id=[]).token_ids

    for end in dict.fromkeys(text):
        out = cascade.generate(PROMPT, max_new_tokens=12, eos_token_id=end)
        assert out.token_ids == text[: text.index(end) + 1]


def test_a_seed_gives_one_text() -> None:
    """
    Sampled twice by one seed it is the same, by another seed another.
    """
    cascade = ahead(chain(count=3, noise=0.05))
    texts = [
        cascade.generate(PROMPT, max_new_tokens=20, temperature=1.0, seed=seed).token_ids
        for seed in (5, 5, 6)
    ]

    assert texts[0] == texts[1] != texts[2]


def test_numbers_that_are_none_are_told() -> None:
    """
    A lowest model whose logits are no numbers ends in a sentence that names it, not in a wrong token.
    """
    models = chain(count=2)
    with torch.no_grad():
        models[0].get_output_embeddings().weight.fill_(torch.nan)

    with pytest.raises(GenerationError, match="finite numbers"):
        ahead(models).generate(PROMPT, max_new_tokens=4)


def test_what_must_be_adjusted_waits() -> None:
    """
    A repetition penalty needs the tokens themselves: the text is the one that plain decoding gives.
    """
    models = chain(count=2, noise=0.05)
    options: dict[str, Any] = {"max_new_tokens": 16, "repetition_penalty": 1.3}

    plain = Cascade(models[-1:]).generate(PROMPT, **options)

    assert ahead(models).generate(PROMPT, **options).token_ids == plain.token_ids


def test_what_a_text_needs_is_recorded_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The steps of its drafts too: while it is decoded nothing is.
    """
    cascade = ahead(chain(count=2, noise=0.05), "captured")
    settings = {"max_new_tokens": 30, "temperature": 0.9, "seed": 3, "max_draft": 4}
    told: list[str] = []

    @contextmanager
    def bar(total: int, _what: str) -> Iterator[Callable[[str], None]]:
        yield told.append
        assert len(told) == total

    warm_up(cascade, PROMPT, settings, prompt_tokens=len(PROMPT), bar=bar)
    monkeypatch.setattr("heads.engines.captured.record", None)

    assert len(cascade.generate(PROMPT, **settings).token_ids) > 1  # type: ignore[arg-type]
