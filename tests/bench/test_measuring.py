"""Every system in turn on every prompt, kept as it comes, and what the rows say."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heads import Cascade
from heads.bench.drawing import draw
from heads.bench.measuring import Journal, measure
from heads.bench.provenance import provenance
from heads.bench.report import report_of
from heads.bench.sweep import MOST_DRAFTED, advised_candidates, best_of, fixed_candidates, tries
from heads.bench.systems import CascadeSystem, Sampling, System, TransformersSystem, systems_of
from registry.errors import UsageError
from tests.heads.models import chain, random_head

PROMPTS = [[3, 1, 4, 1, 5], [2, 7, 1, 8]]
SAMPLING = Sampling(max_new_tokens=12)
PLAN = {"of": "this test"}


@pytest.fixture(scope="module")
def systems() -> list[System]:
    """Three tiny models, and the first and last of them, as every system there is."""
    models = chain(count=3)
    cascade = Cascade(models, [random_head(seed=1), random_head(seed=2)], names=["little", "draft", "target"])
    return systems_of(cascade, random_head(seed=3), options={"max_draft": 4})


def test_a_chain_of_three_is_run_in_every_way(systems: list[System]) -> None:
    """
    Plain decoding, transformers' own two, and each part of the chain with each schedule.
    """
    ways = ("heads", "tuned", "confidence", "heuristic", "fixed")
    parts = [f"{part}:{way}" for part in ("two", "direct", "three") for way in ways]
    three = ["three:top-head"]

    assert sorted(system.mode for system in systems) == sorted(
        ["plain", "generate", "assisted", *parts, *three]
    )


def test_all_of_them_say_the_same_and_tell_what_they_did(systems: list[System], tmp_path: Path) -> None:
    """
    Greedy, no system differs from plain decoding in a token; forwards, acceptance and shares add up.
    """
    journal = Journal(None, PLAN)
    measure(systems, PROMPTS, SAMPLING, journal, repeats=2)

    found = {one["mode"]: one for one in report_of(systems, journal.rows, greedy=True)}

    assert {one["mismatched_tokens"] for one in found.values()} == {0}
    assert found["plain"]["forwards"] == [2 * len(PROMPTS) * 12]
    assert found["plain"]["tokens_per_target_forward"] == found["plain"]["speedup_over_plain"] == 1.0
    assert found["generate"]["forwards"] == found["plain"]["forwards"]
    assert found["assisted"]["forwards"][1] < found["plain"]["forwards"][0]
    assert found["assisted"]["acceptance"] is None
    three = found["three:heads"]
    assert all(0 < share <= 1 for share in three["acceptance"])
    assert three["acceptance_by_position"][1][0] > 0
    assert sum(three["shares"]["forwards"]) + three["shares"]["heads"] + three["shares"]["other"] == (
        pytest.approx(1.0)
    )
    assert three["shares"]["heads"] > 0
    assert found["three:fixed"]["shares"]["heads"] == 0
    speed = three["tokens_per_second"]
    assert speed["low"] <= speed["median"] <= speed["high"]

    picture = tmp_path / "figure.svg"
    texts = {"prompts": PROMPTS, "sampling": vars(SAMPLING), "repeats": 2}
    document = {"models": ["little", "draft", "target"], "systems": list(found.values()), **texts}
    (cascade,) = (
        one.cascade for one in systems if isinstance(one, CascadeSystem) and one.mode == "three:heads"
    )
    draw(document | {"provenance": provenance(cascade)}, picture)
    assert picture.read_text().lstrip().startswith("<?xml")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_a_model_is_shipped_to_ask_for_is_asked_of_no_system(
    systems: list[System], monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    """
    Its makers' generation config has penalties and cuts, which transformers would heed where ours do not.
    """
    peers = [system for system in systems if isinstance(system, TransformersSystem)]
    assert {peer.mode for peer in peers} == {"generate", "assisted"}
    sampling = Sampling(max_new_tokens=24, temperature=temperature)
    expected = [peer.run(PROMPTS[0], sampling, seed=1).token_ids for peer in peers]

    shipped = {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "suppress_tokens": [3], "min_p": 0.3}
    for name, value in shipped.items():
        monkeypatch.setattr(peers[0].target.generation_config, name, value)

    assert [peer.run(PROMPTS[0], sampling, seed=1).token_ids for peer in peers] == expected


def test_every_system_cuts_rows_alike(systems: list[System]) -> None:
    """
    Of a row that min-p cuts down to its most probable token, whatever draws from it draws that one.
    """
    cut = Sampling(max_new_tokens=12, temperature=1.0, min_p=1.0)

    assert {tuple(one.run(PROMPTS[0], cut, seed=1).token_ids) for one in systems} == {
        tuple(systems[0].run(PROMPTS[0], SAMPLING, seed=0).token_ids)
    }


def test_confidence_asks_no_head(systems: list[System]) -> None:
    """
    What advises there is the drafting model's own row: the same lengths whatever the chain's heads say.
    """
    system = next(one for one in systems if one.mode == "two:confidence")
    assert isinstance(system, CascadeSystem)
    headless = replace(system, cascade=system.cascade.part([0, 1], [None]))
    sampling = Sampling(max_new_tokens=24)

    runs = [one.run(PROMPTS[0], sampling, seed=0) for one in (system, headless)]

    assert [run.levels[0].proposed_at for run in runs] == [runs[0].levels[0].proposed_at] * 2
    assert len(runs[0].levels[0].proposed_at) > 1


def test_systems_take_turns(systems: list[System]) -> None:
    """
    Each time around another system begins, so that none always runs on a machine warmed or tired by the same one.
    """
    journal = Journal(None, PLAN)
    measure(systems[:3], PROMPTS, Sampling(max_new_tokens=1), journal, repeats=1)

    modes = [row.mode for row in journal.rows]
    assert [modes[0], modes[3]] == [systems[0].mode, systems[1].mode]
    assert sorted(modes[:3]) == sorted(modes[3:])


def test_warming_up_needs_no_more_room_than_the_text(systems: list[System]) -> None:
    """
    A prompt that leaves room for one new token is measured, though a system is otherwise warmed up by more.
    """
    positions = int(systems[0].cascade.models[-1].config.max_position_embeddings)  # type: ignore[attr-defined]
    journal = Journal(None, PLAN)

    measure(systems[:1], [[3] * (positions - 1)], Sampling(max_new_tokens=1), journal, repeats=1)

    assert [len(row.run.token_ids) for row in journal.rows] == [1]


class PowerCutError(Exception):
    """The machine went down."""


def test_what_was_broken_off_goes_on(systems: list[System], tmp_path: Path) -> None:
    """
    After an end in the middle, and a line half written, only what is missing is measured, and swept lengths stay.
    """
    path = tmp_path / "out.json.journal"
    count = itertools.count(1)

    def told(_: str) -> None:
        if next(count) == 4:
            raise PowerCutError

    with Journal(path, PLAN) as journal:
        journal.settle("two:fixed", {"schedule": "fixed", "max_draft": [3]})
        with pytest.raises(PowerCutError):
            measure(systems[:3], PROMPTS, SAMPLING, journal, repeats=1, told=told)
    with path.open("a") as file:
        file.write('{"mode": "plain", "pro')

    with Journal(path, PLAN) as again:
        assert len(again.rows) == 4
        assert again.settings == {"two:fixed": {"schedule": "fixed", "max_draft": [3]}}
        kept = [row.run.seconds for row in again.rows]
        measure(systems[:3], PROMPTS, SAMPLING, again, repeats=1)
        assert len(again.rows) == 6
        assert [row.run.seconds for row in again.rows[:4]] == kept


@pytest.mark.parametrize(
    "content", [b'{"of": "another"}\n', b"no json\n", b'{"of": "this test"}\n{"odd": 1}\n', b"\xff\xfe\n"]
)
def test_a_journal_of_something_else_is_left_alone(content: bytes, tmp_path: Path) -> None:
    """
    Rows of other prompts, options or versions are not mixed in: the file is named and stays as it was.
    """
    path = tmp_path / "journal"
    path.write_bytes(content)

    with pytest.raises(UsageError, match="journal"):
        Journal(path, PLAN)
    assert path.read_bytes() == content


def test_what_is_tried_is_in_order() -> None:
    """
    One length per edge, none below the edge under it; thresholds per edge, of which the lower one stops earlier.
    """
    assert len(list(fixed_candidates(1))) == 8
    assert all(one["max_draft"] == sorted(one["max_draft"]) for one in fixed_candidates(3))
    assert {len(one["threshold"]) for one in advised_candidates(3)} == {3}
    assert all(1 <= bound <= MOST_DRAFTED for one in advised_candidates(2) for bound in one["max_draft"])


def test_the_sweep_takes_the_fastest_settings(systems: list[System]) -> None:
    """
    Of all that is tried the best few are tried again, and the one with the most tokens per second is kept.
    """
    fixed = next(system for system in systems if system.mode == "three:fixed")
    assert isinstance(fixed, CascadeSystem)
    seconds: dict[tuple[int, ...], list[float]] = {}

    class Watched(CascadeSystem):
        def run(self, *given: Any, **named: Any) -> Any:
            run = super().run(*given, **named)
            seconds.setdefault(tuple(self.settings["max_draft"]), []).append(run.seconds)
            return run

    watched = Watched(mode=fixed.mode, cascade=fixed.cascade, settings={})
    candidates = list(fixed_candidates(2))
    told: list[None] = []
    best = best_of(
        watched, candidates, PROMPTS, replace(SAMPLING, max_new_tokens=8), tried=lambda: told.append(None)
    )

    assert len(told) == tries(candidates) == len(candidates) + 4 * 3
    again = {lengths: times for lengths, times in seconds.items() if len(times) > len(PROMPTS)}
    assert len(again) == 4
    assert tuple(best.settings["max_draft"]) == min(again, key=lambda lengths: sum(again[lengths]))
    assert json.dumps(best.settings)
