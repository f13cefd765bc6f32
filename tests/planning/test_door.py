"""`registry.plan`: the same plan for programs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import registry
from registry.errors import GenerationError, UnknownNameError, UsageError
from registry.planning.law import Law
from registry.planning.lengths import DraftLengths
from registry.planning.measured import Measured, chain_subject
from registry.planning.plan import plan
from tests.planning.measurements import HERE, edged, fingerprinted, stored, timed
from tests.planning.test_plan import planned, shelf_of

UNSIZED = """
version: 1
models:
  nobodys-draft: {hub: nobody/draft, parameters: 1000000}
  nobodys-target: {hub: nobody/target}
"""


@pytest.fixture(scope="module")
def embedded() -> registry.Plan:
    """Of the embedded family, nothing of it measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECREG_HOME", "/nonexistent")
        return registry.plan("pico-target", device="cpu")


def test_choices_are_ranked_and_frozen(embedded: registry.Plan) -> None:
    """
    Best first, and none of it can be written over.
    """
    speeds = [choice.tokens_per_second for choice in embedded.chains]

    assert speeds == sorted(speeds, reverse=True)
    assert embedded.best == embedded.chains[0] == embedded.best_here
    with pytest.raises(dataclasses.FrozenInstanceError):
        embedded.best.speedup = 9.0  # type: ignore[misc]


def test_every_choice_becomes_its_pipeline(embedded: registry.Plan) -> None:
    """
    Of the very models and heads, where their files are; `generate` takes its settings.
    """
    for choice in embedded.chains:
        pipeline = choice.pipeline()
        assert pipeline.models == choice.models
        assert [head.name for head in pipeline.heads] == list(choice.estimate.heads)
        assert all(head.installed for head in pipeline.heads)
        assert choice.settings.keys() <= {"min_draft", "max_draft", "threshold"}


def test_it_says_what_is_assumed(embedded: registry.Plan) -> None:
    """
    Forwards by size, acceptance by the heads' own evaluations, and whose times they are.
    """
    bases = {basis for choice in embedded.chains for basis in choice.estimate.forwards.values()}
    shares = {basis for choice in embedded.chains for _, basis in choice.estimate.acceptance.values()}

    assert (bases, shares) == ({"assumed"}, {"recorded"})
    assert embedded.setup is None
    assert embedded.loading == {}
    assert str(embedded.assumed) in embedded.device


def test_only_what_is_here_when_asked() -> None:
    """
    Of a family that nobody fetched the target alone is left; of the embedded one all.
    """
    assert [choice.models for choice in registry.plan("qwen3-14b", installed=True).chains] == [("qwen3-14b",)]
    assert registry.plan("qwen3-14b").best_here is None
    assert len(registry.plan("pico-target", installed=True).chains) == 4


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1.0},
        {"top_k": -1},
        {"top_p": 0.0},
        {"min_p": 2.0},
        {"dtype": "int8"},
        {"engine": "steam"},
        {"memory_bytes": 0},
        {"memory_bytes": "80GB"},
        {"device": b"cpu"},
        {"device": "cdua"},
        {"device": "CPU"},
        {"device": "tpu"},
        {"device": "cuda:"},
        {"most_models": 0},
        {"top": 0},
    ],
    ids=str,
)
def test_an_option_out_of_range_is_named(options: dict[str, Any]) -> None:
    """
    As `generate` names it, with what was expected.
    """
    with pytest.raises(GenerationError) as caught:
        registry.plan("pico-target", **options)

    assert {caught.value.option: caught.value.found} == options


def test_a_model_that_nobody_knows_is_told() -> None:
    """
    With the nearest names, for either end.
    """
    with pytest.raises(UnknownNameError, match="pico-target"):
        registry.plan("pico-targt")
    with pytest.raises(UnknownNameError, match="pico-little"):
        registry.plan("pico-target", source="pico-litle")


def test_a_target_without_size_or_time_is_told(tmp_path: Path) -> None:
    """
    There is nothing to rank by: what would help is named.
    """
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(UNSIZED)

    with pytest.raises(UsageError, match="specreg measure nobodys-target"):
        registry.plan("nobodys-target", catalog=catalog)


def test_tuned_lengths_come_before_planned_ones() -> None:
    """
    What was found by running a chain is what is handed to `generate`; the prediction stays that of the planned ones.
    """
    shelf = shelf_of({"small": 10**9, "large": 10**10}, [("small", "large")])
    pair = ("small", "large")
    lengths = DraftLengths(min_draft=(2,), max_draft=(7,), threshold=(0.3,))
    kept = stored("lengths", chain_subject(pair), lengths, law="greedy")
    tuned = kept.model_copy(update={"document": {"lengths": kept.document}})
    known = [*timed("small", 0.001), *timed("large", 0.01), *edged("small", "large", 0.8)]

    before, after = (
        next(one for one in planned(shelf, "large", these).chains if one.models == pair)
        for these in (known, [*known, tuned])
    )

    assert after.settings == {"min_draft": [2], "max_draft": [7], "threshold": [0.3]}
    assert before.settings == after.estimate.lengths.settings
    assert before.tokens_per_second == after.tokens_per_second


def test_lengths_tuned_with_one_head_are_not_anothers() -> None:
    """
    Whichever is asked for first.
    """
    lengths = DraftLengths.fixed(3)
    kept = stored("lengths", chain_subject(("a", "b")), lengths, law="greedy", fingerprint="of mine")
    tuned = kept.model_copy(update={"document": {"lengths": kept.document}})
    known = Measured(HERE, [tuned], lambda _, heads: f"of {heads[0]}")

    assert known.lengths(["a", "b"], ["mine"], Law()) == lengths
    assert known.lengths(["a", "b"], ["theirs"], Law()) is None


def test_it_is_loaded_as_it_was_measured() -> None:
    """
    A plan for one setup names the options of `Pipeline.load` that give it; a dtype of each model's own is none.
    """
    shelf = shelf_of({"large": 10**10}, [])
    own = HERE.model_copy(update={"dtype": "stored", "engine": "captured"})

    assert planned(shelf, "large", timed("large", 0.01)).loading == {
        "device": "cpu",
        "dtype": "float32",
        "engine": "eager",
    }
    for dtype in ("stored", "bfloat16+float32"):
        each = own.model_copy(update={"dtype": dtype})
        known = Measured(each, timed("large", 0.01, setup=each), fingerprinted)
        assert plan(shelf, "large", measured=known, law=Law()).loading == {
            "device": "cpu",
            "engine": "captured",
        }
