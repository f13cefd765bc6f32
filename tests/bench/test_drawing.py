"""What a figure of a benchmark shows of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from heads.bench.drawing import draw

RESULTS = Path(__file__).parents[2] / "heads" / "results"


@pytest.mark.parametrize(("slower", "cut"), [(1, False), (100, True)], ids=["alike", "dwarfing the rest"])
def test_a_bar_that_dwarfs_the_others_is_cut_and_says_its_length(
    tmp_path: Path, slower: int, *, cut: bool
) -> None:
    """
    Else the parts of all others could not be told apart; where bars are alike all are shown whole.
    """
    report: dict[str, Any] = json.loads((RESULTS / "cpu-pico-greedy.json").read_text())
    plain = report["systems"][0]
    plain["seconds"] *= slower
    figure = tmp_path / "figure.svg"

    draw(report, figure)

    length = f"{1e3 * plain['seconds'] / plain['tokens']:.1f} →"
    assert (length in figure.read_text(encoding="utf-8")) is cut
