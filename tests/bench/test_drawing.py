"""What a figure of a benchmark shows of it."""

from __future__ import annotations

import json
import re
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


@pytest.mark.parametrize("known", [True, False], ids=["all of it known", "that of heads unknown"])
def test_all_panels_show_what_the_report_says(tmp_path: Path, *, known: bool) -> None:
    """
    Speed by way of decoding, acceptance by position and where the time goes, also where it is not known of heads.
    """
    report: dict[str, Any] = json.loads((RESULTS / "cpu-pico-greedy.json").read_text())
    timed = [one for one in report["systems"] if one["shares"]]
    if not known:
        for one in timed:
            one["shares"]["heads"] = None
    figure = tmp_path / "figure.svg"

    draw(report, figure)

    speed, acceptance, time = panels_of(figure)
    assert {"Speed", "tokens per second: median, lowest and highest repeat"} <= speed
    assert {one["mode"] for one in report["systems"]} <= speed
    assert {f"{one['speedup_over_plain']:.2f}x" for one in report["systems"]} <= speed
    little, draft, target = report["models"]
    assert {"place in the proposal", "kept, of those proposed"} <= acceptance
    assert {f"{little} to {draft}", f"{draft} to {target}"} <= acceptance
    assert {"Where the time goes", "milliseconds per token"} <= time
    assert {one["mode"] for one in timed} | {*report["models"], "heads", "all else"} <= time


def panels_of(figure: Path) -> list[set[str]]:
    """The texts in each panel: letters are drawn as outlines, and a comment says which they are."""
    _, *panels = figure.read_text(encoding="utf-8").split('<g id="axes_')
    return [{text.strip() for text in re.findall(r"<!--(.*?)-->", panel)} for panel in panels]


def test_a_figure_says_what_it_is_of(tmp_path: Path) -> None:
    """
    Two figures side by side are told apart: the chain, how texts were drawn and how many, and what they ran on.
    """
    report: dict[str, Any] = json.loads((RESULTS / "cpu-pico-sampled.json").read_text())
    figure = tmp_path / "figure.svg"

    draw(report, figure)

    texts = "temperature 1, 4 prompts, 96 new tokens, 3 repeats"
    machine = f"captured, float32, {report['provenance']['processor']}, 1 thread"
    told = f"pico-little, pico-draft, pico-target: {texts}; {machine}"
    assert f"<!-- {told} -->" in figure.read_text(encoding="utf-8")
