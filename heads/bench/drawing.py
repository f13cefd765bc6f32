"""A benchmark's figures, drawn from its JSON: speed by way of decoding, acceptance by position, a round's time.

`python -m heads.bench.drawing REPORT.json FIGURE.svg` draws a report that was kept.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from heads.picture import FAINT, INK, OURS, THEIRS, picture
from registry.planning.law import Law

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PEERS: Final = frozenset({"plain", "generate", "assisted"})
PARTS: Final = ("#0a3069", "#0969da", "#54aeff", "#b6e3ff")
DWARFED: Final = 3  # bars longer than so many times the others' longest are cut, lest these be not seen


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw all three figures side by side into an SVG, PNG or PDF file.

    Raises:
        UsageError: matplotlib is not installed, or the file cannot be written.
    """
    with picture(path) as figure:
        speed, positions, time = figure.subplots(1, 3, width_ratios=(1.3, 1, 1.3))
        _speeds(speed, report)
        _positions(positions, report)
        _times(time, report)
        figure.suptitle(told(report), x=0.005, ha="left", fontsize=8, color=INK)


def told(report: dict[str, Any]) -> str:
    """What a report is of, in a line: the chain, the texts, and what they ran on."""
    sampling, facts = dict(report["sampling"]), report["provenance"]
    most = sampling.pop("max_new_tokens")
    texts = [
        Law(**sampling).key,
        _counted(len(report["prompts"]), "prompt"),
        _counted(most, "new token"),
        _counted(report["repeats"], "repeat"),
    ]
    ran = [*dict.fromkeys(facts["engines"]), *dict.fromkeys(facts["dtype"])]
    ran += [facts["gpu"]] if "gpu" in facts else [facts["processor"], _counted(facts["threads"], "thread")]
    return f"{', '.join(report['models'])}: {', '.join(texts)}; {', '.join(ran)}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _speeds(axes: Axes, report: dict[str, Any]) -> None:
    systems = report["systems"]
    places = range(len(systems))
    speeds = [one["tokens_per_second"] for one in systems]
    middle = [speed["median"] for speed in speeds]
    spread = [
        [speed["median"] - speed["low"] for speed in speeds],
        [speed["high"] - speed["median"] for speed in speeds],
    ]
    axes.barh(
        places,
        middle,
        xerr=spread,
        color=[THEIRS if one["mode"] in PEERS else OURS for one in systems],
        error_kw={"ecolor": INK, "elinewidth": 0.8},
    )
    for place, one, high in zip(places, systems, [speed["high"] for speed in speeds], strict=True):
        ratio = one["speedup_over_plain"]
        axes.annotate(
            f" {ratio:.2f}x" if ratio else "", (high, place), va="center", fontsize=8, annotation_clip=False
        )
    axes.set_yticks(places, [one["mode"] for one in systems])
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("tokens per second: median, lowest and highest repeat")
    axes.set_title("Speed", loc="left", weight="bold")


def _positions(axes: Axes, report: dict[str, Any]) -> None:
    longest = max(
        (one for one in report["systems"] if one["acceptance_by_position"]), key=_depth, default=None
    )
    if longest is not None:
        for edge, shares in enumerate(longest["acceptance_by_position"]):
            label = f"{longest['models'][edge]} to {longest['models'][edge + 1]}"
            axes.plot(range(1, len(shares) + 1), shares, marker="o", color=PARTS[edge % 4], label=label)
        axes.legend(frameon=False, loc="lower left")
    axes.set_ylim(0, 1)
    axes.set_xlabel("place in the proposal")
    axes.set_ylabel("kept, of those proposed")
    axes.set_title(f"Acceptance, {longest['mode'] if longest else 'none'}", loc="left", weight="bold")


def _depth(system: dict[str, Any]) -> tuple[int, int]:
    """The longest chain, and of its schedules the one that drafted longest."""
    return len(system["models"]), sum(map(len, system["acceptance_by_position"]))


def _times(axes: Axes, report: dict[str, Any]) -> None:
    systems = [one for one in report["systems"] if one["shares"]]
    per_token = [1e3 * one["seconds"] / one["tokens"] for one in systems]
    left = [0.0] * len(systems)
    names = report["models"]
    parts = [(name, PARTS[index % 4], _of_model(systems, name)) for index, name in enumerate(reversed(names))]
    # None where heads are recorded with all else of a step
    parts += [("heads", "#8250df", [one["shares"]["heads"] or 0.0 for one in systems])]
    # an accelerator is still at work when the host has asked for a forward: the time is in the waiting for it
    rest = "waiting, and all else" if report["provenance"]["device"].startswith("cuda") else "all else"
    parts += [(rest, FAINT, [one["shares"]["other"] for one in systems])]
    for name, colour, shares in parts:
        widths = [share * whole for share, whole in zip(shares, per_token, strict=True)]
        axes.barh(range(len(systems)), widths, left=left, color=colour, label=name)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    shown = _longest_shown(per_token)
    for place, whole in enumerate(per_token):
        if whole > shown:
            axes.text(
                shown, place, f"{whole:.1f} \N{RIGHTWARDS ARROW} ", color="white", ha="right", va="center"
            )
    axes.set_xlim(0, shown)
    axes.set_yticks(range(len(systems)), [one["mode"] for one in systems])
    axes.invert_yaxis()
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    axes.set_xlabel("milliseconds per token")
    axes.set_title("Where the time goes", loc="left", weight="bold")


def _longest_shown(lengths: list[float]) -> float:
    """Where the axis of bars ends: past the longest, or past the longest of those that do not dwarf the others."""
    ordered = sorted(lengths)
    for shorter, longer in pairwise(ordered):
        if longer > DWARFED * shorter:
            return 1.3 * shorter
    return 1.05 * ordered[-1]


def _of_model(systems: list[dict[str, Any]], name: str) -> list[float]:
    return [
        sum(
            share
            for model, share in zip(one["models"], one["shares"]["forwards"], strict=True)
            if model == name
        )
        for one in systems
    ]


def main() -> None:
    """Draw one report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("report", type=Path)
    parser.add_argument("figure", type=Path, help=".svg, .png or .pdf")
    given = parser.parse_args()
    draw(json.loads(given.report.read_text(encoding="utf-8")), given.figure)


if __name__ == "__main__":
    main()
