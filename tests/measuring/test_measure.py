"""A whole chain measured, as the store is going to hold it."""

from __future__ import annotations

from collections import Counter
from math import sqrt

import pytest

from heads import Cascade
from heads.bench.prompts import own_prompts
from heads.measuring.effort import Effort
from heads.measuring.loading import load_to_measure
from heads.measuring.measure import measure
from heads.measuring.setting import setup_of
from heads.measuring.texts import target_texts
from heads.measuring.traces import edge_traces
from heads.prompt import prompt_ids
from registry.errors import UsageError
from registry.pipeline import Pipeline, resolve_pipeline
from registry.planning.fingerprint import fingerprint
from registry.planning.law import Law
from registry.planning.measured import Measured
from registry.planning.measurement import Measurement
from registry.shelf import Shelf

LITTLE = Effort(passes=1, forwards=1, runs=1, tokens=8, head=1)
SAMPLED = Law(temperature=1.0)
ENDS = ("pico-little", "pico-draft")


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    """The two smaller ones of the embedded family."""
    return resolve_pipeline(*ENDS)


@pytest.fixture(scope="module")
def cascade(pipeline: Pipeline) -> Cascade:
    """Them, loaded."""
    return load_to_measure(pipeline).cascade


@pytest.fixture(scope="module")
def steps(pipeline: Pipeline) -> list[list[Measurement]]:
    """What each step handed over."""
    found: list[list[Measurement]] = []
    measure(pipeline, prompts=own_prompts()[:2], max_new_tokens=12, effort=LITTLE, kept=found.append)
    return found


def test_each_step_is_handed_over(steps: list[list[Measurement]]) -> None:
    """
    The traces of each law, then forwards of each model in both roles, and what rounds take besides.
    """
    edge = "pico-little--to--pico-draft"
    trace = f"{edge}/exp-weight6-layer3 along pico-draft"

    assert [[(one.kind, one.subject, one.law) for one in step] for step in steps] == [
        [("trace", trace, "greedy")],
        [("trace", trace, "temperature 1")],
        *([("forwards", name, ""), ("forwards", f"{name} as target", "")] for name in ENDS),
        [("rounds", edge, "")],
    ]


def test_what_was_measured_is_found_again(
    steps: list[list[Measurement]], pipeline: Pipeline, cascade: Cascade
) -> None:
    """
    Through JSON and back, under the setup of the chain and the fingerprint of its checkpoints, all is where plans look.
    """
    every = [Measurement.model_validate_json(one.model_dump_json()) for step in steps for one in step]

    def now(models: object, heads: object) -> str:
        return fingerprint(pipeline.shelf, models, heads)  # type: ignore[arg-type]

    known = Measured(setup_of(cascade), every, now)

    for name in ENDS:
        assert known.forwards(name, as_target=True) is not None
        below = known.forwards(name, as_target=False)
        assert below is not None
        assert below.outside.keys() == {"greedy", "sampled"}
    rounds = known.rounds(*ENDS)
    assert rounds is not None
    assert rounds.head_name == pipeline.heads[0].name
    for law in (Law(), SAMPLED):
        traces = known.traces(ENDS, law)
        assert traces is not None
        assert sum(len(text.kept) for text in traces[0].texts) == 24
        assert len(traces[0].texts[0].foreseen_refused) == 12
    assert every[0].provenance["prompts"] == [one.name for one in own_prompts()[:2]]
    assert every[0].provenance["torch"]


def test_a_run_that_breaks_off_leaves_what_it_has(pipeline: Pipeline) -> None:
    """
    Nothing waits for the end: what came before a failure was handed over.
    """
    found: list[Measurement] = []

    class PowerCutError(Exception):
        pass

    def keep(step: list[Measurement]) -> None:
        found.extend(step)
        raise PowerCutError

    with pytest.raises(PowerCutError):
        measure(pipeline, prompts=own_prompts()[:1], max_new_tokens=4, effort=LITTLE, kept=keep)

    assert Counter(one.kind for one in found) == {"trace": 1}


def test_a_text_too_long_is_refused_before_anything_is_timed(pipeline: Pipeline) -> None:
    """
    All models of a chain must hold prompt and text.
    """
    with pytest.raises(UsageError, match=r"python-1.*positions"):
        measure(pipeline, prompts=own_prompts()[:1], max_new_tokens=100_000, effort=LITTLE)


def test_traces_foresee_a_real_cascade(cascade: Cascade) -> None:
    """
    Kept shares and the overlap have one mean, and first proposals of real rounds are kept as often.
    """
    prompts = [
        prompt_ids(one.text, cascade.tokenizer, vocab_size=cascade.vocab_size) for one in own_prompts()[:3]
    ]
    texts = target_texts(cascade, prompts, SAMPLED, max_new_tokens=24)
    trace = edge_traces(cascade, {}, texts, SAMPLED)[0]
    kept = [share for one in trace.texts for share in one.kept]
    mean = sum(kept) / len(kept)
    error = sqrt(sum((share - mean) ** 2 for share in kept)) / len(kept)
    proposed = accepted = 0
    for seed, prompt in enumerate(prompts):
        out = cascade.generate(
            prompt,
            max_new_tokens=24,
            temperature=1.0,
            seed=seed,
            max_draft=1,
            schedule="fixed",
            eos_token_id=[],
        )
        proposed += out.levels[0].proposed_at[0]
        accepted += out.levels[0].accepted_at[0]
    real = accepted / proposed

    assert abs(mean - trace.acceptance) < 4 * error
    assert abs(real - trace.acceptance) < 4 * sqrt(real * (1 - real) / proposed + error**2)


def test_a_fingerprint_is_of_files(pipeline: Pipeline) -> None:
    """
    The order of names does not count, each file does, and what has no record is told apart from what has one.
    """
    shelf, head = pipeline.shelf, pipeline.heads[0].name
    whole = fingerprint(shelf, ENDS, [head])
    record = shelf.lock.models["pico-draft"]
    name, file = next(iter(record.files.items()))
    files = {**record.files, name: file.model_copy(update={"sha256": "0" * 64})}
    changed = record.model_copy(update={"files": files})
    other = Shelf(
        shelf.catalog,
        shelf.lock.model_copy(update={"models": {**shelf.lock.models, "pico-draft": changed}}),
    )

    assert whole == fingerprint(shelf, ENDS[::-1], [head])
    assert len({whole, fingerprint(shelf, ENDS), fingerprint(other, ENDS, [head])}) == 3
    assert fingerprint(shelf, ENDS, ["mine"]) not in {whole, fingerprint(shelf, ENDS)}
