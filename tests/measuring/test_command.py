"""`specreg measure` from the outside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from heads.measuring import effort
from heads.measuring import measure as measuring
from heads.measuring.clock import Clock
from heads.measuring.effort import Effort
from registry.planning.law import Law
from registry.store.measured import read_measurements
from tests.conftest import Outcome

Run = Callable[..., Outcome]
SHORT = ("--limit", "1", "--max-new-tokens", "6")


@pytest.fixture(autouse=True)
def little_effort(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thing is timed once."""
    monkeypatch.setattr(effort, "USUAL", Effort(passes=1, forwards=1, runs=1, tokens=4, head=1))


def test_a_chain_is_told_and_kept(specreg: Run) -> None:
    """
    A table of models and one of edges, and in the store what a plan will look for.
    """
    found = specreg("measure", "pico-little", "pico-draft", *SHORT)

    assert found.code == 0
    models, edges = (part.splitlines() for part in found.out.split("\n\n"))
    assert [line.split("\t")[0] for line in models] == ["model", "pico-little", "pico-draft"]
    header, line = (line.split("\t") for line in edges)
    assert header[-2:] == ["acceptance, greedy", "acceptance, temperature 1"]
    assert line[:2] == ["pico-little--to--pico-draft", "exp-weight6-layer3"]
    kept = read_measurements()
    assert len(kept) == 7
    shares = {one.law: one.document["acceptance"] for one in kept if one.kind == "trace"}
    assert line[-2:] == [f"{shares[law.key]:.3f}" for law in (Law(), Law(temperature=1.0))]
    assert f"7 measurements kept, of {kept[0].setup}" in found.err


def test_one_law_where_one_is_asked_for(specreg: Run) -> None:
    """
    A temperature leaves the other law out, and the JSON holds every document whole.
    """
    options = ("--temperature", "0.7", "--top-p", "0.9", "--json")
    found = specreg("measure", "pico-little", "pico-draft", *SHORT, *options)

    document = json.loads(found.out)
    assert document["kept"]
    traces = [one for one in document["measurements"] if one["kind"] == "trace"]
    assert [one["law"] for one in traces] == ["temperature 0.7, top-p 0.9"]
    assert len(traces[0]["document"]["texts"][0]["kept"]) == 6


def test_one_model_has_forwards_alone(specreg: Run) -> None:
    """
    In both roles; there is no edge to speak of.
    """
    found = specreg("measure", "pico-little", *SHORT)

    assert found.code == 0
    assert [line.split("\t")[0] for line in found.out.splitlines()] == ["model", "pico-little"]
    assert sorted(one.subject for one in read_measurements()) == ["pico-little", "pico-little as target"]


def test_a_store_that_cannot_be_written_is_told_once(
    specreg: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    At once, before anything is measured; that is printed all the same, and the exit code tells that no plan will know.
    """
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SPECREG_DATABASE_URL", f"sqlite:///{tmp_path / 'file' / 'store.db'}")

    found = specreg("measure", "pico-little", *SHORT, "--json")

    document = json.loads(found.out)
    assert found.code == 2
    assert not document["kept"]
    assert len(document["measurements"]) == 2
    assert found.err.count("is told, but not kept") == 1
    assert found.err.count("store.db") == 1


@pytest.mark.parametrize("quick", [True, False])
def test_a_busy_machine_is_told_what_to_do(
    specreg: Run, monkeypatch: pytest.MonkeyPatch, quick: bool
) -> None:
    """
    To measure again; an option is named only where it was given, as `plan --measure` has none.
    """
    once = Effort(passes=1, forwards=1, seconds=0.01, runs=1, tokens=2, head=1)
    monkeypatch.setattr(effort, "USUAL", once)
    for module in (effort, measuring):
        monkeypatch.setattr(module, "QUICK", Effort(passes=1, forwards=2, seconds=0.01, runs=1, tokens=2))
    monkeypatch.setattr(Clock, "unsteady", ["pico-little"])

    found = specreg("measure", "pico-little", *SHORT, *(["--quick"] if quick else []))

    assert "this machine has other work to do. Measure again with `specreg measure`" in found.err
    assert ("without --quick" in found.err) == quick
