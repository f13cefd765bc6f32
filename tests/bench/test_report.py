"""What a report makes of rows, by rows whose sums are done by hand and by models whose time is known."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor

from heads import Cascade
from heads.bench.measuring import Journal, Row, measure
from heads.bench.report import report_of
from heads.bench.systems import PLAIN, CascadeSystem, Run, Sampling
from heads.generation import LevelReport
from tests.heads.models import chain, random_head

PROMPT = [3, 1, 4, 1, 5]
FORWARD_S = 0.01


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    """Two tiny models, and a head between them."""
    return Cascade(chain(count=2), [random_head()], names=["draft", "target"])


@pytest.fixture(scope="module")
def systems(cascade: Cascade) -> list[CascadeSystem]:
    """The target alone, and both."""
    return [
        CascadeSystem(mode=PLAIN, cascade=cascade.part([1])),
        CascadeSystem(mode="two:heads", cascade=cascade),
    ]


def row(
    mode: str, prompt: int, repeat: int, tokens: list[int], seconds: float, head_seconds: float | None = 0.0
) -> Row:
    """A run of which the target's two forwards take a quarter, and the draft's, if it is there, an eighth."""
    target = LevelReport(model="target", forwards=2, proposed=None, accepted=None, seconds=seconds / 4)
    draft = LevelReport(
        model="draft",
        forwards=3,
        proposed=4,
        accepted=3,
        proposed_at=(2, 2),
        accepted_at=(2, 1),
        seconds=seconds / 8,
        head_seconds=head_seconds,
    )
    levels = (target,) if mode == PLAIN else (draft, target)
    return Row(
        mode=mode, prompt=prompt, repeat=repeat, run=Run(token_ids=tokens, seconds=seconds, levels=levels)
    )


def test_a_speed_is_the_median_of_the_repeats(systems: list[CascadeSystem]) -> None:
    """
    Each repeat is one speed over all prompts, long ones counting for more; beside it the lowest and the highest.
    """
    rows = [
        row(PLAIN, prompt, repeat, [0] * (1 + 2 * prompt), (1 + prompt) * pause)
        for repeat, pause in enumerate((0.5, 4.0, 1.0))
        for prompt in (0, 1)
    ]

    (found,) = report_of(systems[:1], rows, greedy=False)

    # four tokens in three pauses
    assert found["tokens_per_second"] == pytest.approx({"median": 4 / 3, "low": 1 / 3, "high": 8 / 3})


def test_every_position_that_differs_from_plain_decoding_is_counted(systems: list[CascadeSystem]) -> None:
    """
    Of the same prompt and repeat, and those that only one of the texts has; sampled texts are not held together.
    """
    rows = [
        row(PLAIN, 0, 0, [1, 2, 3, 4], 1.0),
        row("two:heads", 0, 0, [1, 5, 3], 1.0),
        row(PLAIN, 1, 0, [7, 7], 1.0),
        row("two:heads", 1, 0, [7, 7, 7], 1.0),
    ]

    greedy, sampled = (report_of(systems, rows, greedy=greedy) for greedy in (True, False))

    assert [one["mismatched_tokens"] for one in greedy] == [0, 3]
    assert [one["mismatched_tokens"] for one in sampled] == [None, None]


def test_what_levels_did_is_summed(systems: list[CascadeSystem]) -> None:
    """
    Forwards, acceptance and each part's share of the time, over all runs.
    """
    rows = [row("two:heads", prompt, 0, [1, 2, 3, 4], 1.0, 0.125) for prompt in (0, 1)]

    found = report_of(systems, [*rows, row(PLAIN, 0, 0, [1], 0.5)], greedy=True)[1]

    assert (found["forwards"], found["tokens_per_target_forward"]) == ([6, 4], 2.0)
    assert (found["acceptance"], found["acceptance_by_position"]) == ([0.75], [[1.0, 0.5]])
    assert found["shares"] == {"forwards": [0.125, 0.25], "heads": 0.125, "other": 0.5}
    assert found["speedup_over_plain"] == 2.0


def test_a_time_that_nobody_knows_is_null_and_not_0(systems: list[CascadeSystem]) -> None:
    """
    One run that does not tell is enough: the share is null, and the time is among the rest.
    """
    rows = [row("two:heads", 0, 0, [1], 1.0, 0.125), row("two:heads", 1, 0, [1], 1.0, None)]

    report = report_of(systems, [*rows, row(PLAIN, 0, 0, [1], 1.0)], greedy=True)

    assert report[1]["shares"] == {"forwards": [0.125, 0.25], "heads": None, "other": 0.625}


def test_forwards_get_all_of_their_time() -> None:
    """
    A model that is known to take so long at least has that share at least, each of the chain's its own.
    """
    models = chain(count=2)
    models[0].register_forward_pre_hook(lambda *_: time.sleep(FORWARD_S))
    models[1].register_forward_pre_hook(lambda *_: time.sleep(2 * FORWARD_S))
    slow = CascadeSystem(mode="two:fixed", cascade=Cascade(models), settings={"schedule": "fixed"})
    journal = Journal(None, {})

    measure([slow], [PROMPT], Sampling(max_new_tokens=6), journal, repeats=1)

    (found,) = report_of([slow], journal.rows, greedy=False)
    for index, pause in enumerate((FORWARD_S, 2 * FORWARD_S)):
        share = found["shares"]["forwards"][index]
        assert share >= found["forwards"][index] * pause / found["seconds"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [({}, False), ({"schedule": "fixed"}, True), ({"threshold": 1.0}, True)],
    ids=["asked", "fixed", "never asked"],
)
def test_a_head_within_a_recorded_step_has_no_time_of_its_own(
    recorded: Cascade, settings: dict[str, Any], *, told: bool
) -> None:
    """
    As on a GPU; where no head is asked there is none to be told, which is known to be nothing.
    """
    system = CascadeSystem(mode="two:heads", cascade=recorded, settings={"max_draft": 3, **settings})
    journal = Journal(None, {})

    measure([system], [PROMPT], Sampling(max_new_tokens=8), journal, repeats=1)

    shares = report_of([system], journal.rows, greedy=False)[0]["shares"]
    assert shares["heads"] == (0.0 if told else None)
    assert sum(shares["forwards"]) + shares["other"] == pytest.approx(1.0)


@pytest.fixture(scope="module")
def recorded() -> Cascade:
    """Two tiny models that are recorded and draft as they would on an accelerator."""
    found = Cascade(chain(count=2, noise=0.05), [random_head()], engine="captured")
    found.ahead = True
    return found


def test_a_head_that_could_not_be_recorded_is_timed() -> None:
    """
    A model that looks at its own numbers runs as it comes, and so does its head.
    """
    models = chain(count=2)

    def peek(_module: Any, given: tuple[Tensor], out: Tensor) -> Tensor:
        return out * torch.tensor([1 + abs(one.item()) for one in given[0][0, :, 0]])[:, None]

    models[0].get_submodule("model.layers.0.mlp").register_forward_hook(peek)
    cascade = Cascade(models, [random_head()], names=["draft", "target"], engine="captured")
    cascade.ahead = True
    system = CascadeSystem(mode="two:heads", cascade=cascade)
    journal = Journal(None, {})

    measure([system], [PROMPT], Sampling(max_new_tokens=8), journal, repeats=1)

    assert list(cascade.refusals) == ["draft"]
    assert report_of([system], journal.rows, greedy=False)[0]["shares"]["heads"] > 0


def test_a_recorded_row_comes_back_as_it_was(recorded: Cascade, tmp_path: Any) -> None:
    """
    Out of the file of a run that was broken off, where nobody knows the head's time either.
    """
    system = CascadeSystem(mode="two:heads", cascade=recorded)
    with Journal(tmp_path / "journal", {}) as journal:
        measure([system], [PROMPT], Sampling(max_new_tokens=8), journal, repeats=1)

    with Journal(tmp_path / "journal", {}) as again:
        pass
    assert again.rows == journal.rows
    assert journal.rows[0].run.levels[0].head_seconds is None
