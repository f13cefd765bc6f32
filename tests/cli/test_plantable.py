"""A plan as people read it."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

import registry
from registry.cli.plantable import digits, print_plan, told_lengths
from registry.planning.lengths import DraftLengths


@pytest.fixture(scope="module")
def embedded() -> registry.Plan:
    """Of the embedded family, nothing of it measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECREG_HOME", "/nonexistent")
        return registry.plan("pico-target", device="cpu")


def test_a_narrow_terminal_gets_lines(
    embedded: registry.Plan, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    No chain is broken into words: each stands on a line of its own, its numbers below it.
    """
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")

    print_plan(embedded)

    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [one.name for one in embedded.chains]
    assert max(map(len, lines)) <= 80


def test_tuned_lengths_are_told_beside_planned_ones(embedded: registry.Plan) -> None:
    """
    And which are which; where they are the same, once.
    """
    chain = next(one for one in embedded.chains if one.models == ("pico-draft", "pico-target"))
    other = DraftLengths(min_draft=(1,), max_draft=(7,), threshold=(0.3,))
    planned = chain.estimate.lengths

    assert told_lengths(replace(chain, tuned=other)) == f"up to 7 at 0.3 (tuned; planned {planned})"
    assert told_lengths(replace(chain, tuned=planned)) == f"{planned} (tuned)"
    assert told_lengths(chain) == str(planned)


@pytest.mark.parametrize(
    ("number", "told"), [(12_345.6, "12300"), (999.6, "1000"), (7.0, "7.00"), (0.012345, "0.0123")]
)
def test_a_guess_has_three_digits(number: float, told: str) -> None:
    """
    Whatever its size.
    """
    assert digits(number) == told
