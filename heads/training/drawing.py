"""A head's figures, drawn from its JSON: what it says beside what is so, for whole drafts and for single tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from heads.picture import FAINT, OURS, THEIRS, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BARS: Final = "#b6e3ff"


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw reliability of survival and of tokens, and the ranking beside what needs no head, into a picture.

    Raises:
        UsageError: matplotlib is not installed, or the file cannot be written.
    """
    with picture(path) as figure:
        survival, token, ranking = figure.subplots(1, 3, width_ratios=(1, 1, 0.8))
        told = "calibrated" if report["calibrated"] else "raw"
        length = report["drafts"]["length"]
        _reliability(
            survival,
            report["histograms"]["survival"],
            title=f"Survival, {told}: error {report['ece']:.3f}",
            what=f"all tokens so far accepted, drafts up to {length}",
        )
        _reliability(
            token,
            report["histograms"]["token"],
            title=f"Single tokens, {told}: error {report['ece_token']:.3f}",
            what="accepted",
        )
        if report["calibrated"]:
            raw = report["histograms"]["token_raw"]
            token.plot(
                *_points(raw), marker="o", color=THEIRS, label=f"raw: error {report['ece_token_raw']:.3f}"
            )
            token.legend(frameon=False, loc="lower left")
        _ranking(ranking, report)


def _reliability(axes: Axes, bins: list[dict[str, float]], *, title: str, what: str) -> None:
    """Bars for how often a number is said, a line for how often it then is so."""
    every = sum(one["count"] for one in bins)
    axes.bar(
        [one["low"] for one in bins],
        [one["count"] / every for one in bins],
        width=[one["high"] - one["low"] for one in bins],
        align="edge",
        color=BARS,
        edgecolor="white",
        label="share of all",
    )
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, zorder=1)
    axes.plot(*_points(bins), marker="o", color=OURS, label="mean of each bin")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel(f"what the head says: {what}")
    axes.set_ylabel("how often it is so")
    axes.legend(frameon=False, loc="upper left")
    axes.set_title(title, loc="left", weight="bold")


def _points(bins: list[dict[str, float]]) -> tuple[list[float], list[float]]:
    return [one["predicted"] for one in bins], [one["found"] for one in bins]


def _ranking(axes: Axes, report: dict[str, Any]) -> None:
    """AUC of the head, of the source's largest probability and of its entropy."""
    baselines = report["baselines"]
    rows = [
        ("the head", report["auc"], OURS),
        ("largest\nprobability", baselines["max_probability"]["auc"], THEIRS),
        ("entropy", baselines["entropy"]["auc"], THEIRS),
    ]
    axes.barh(
        [name for name, _, _ in rows],
        [auc - 0.5 for _, auc, _ in rows],
        left=0.5,
        color=[c for *_, c in rows],
    )
    for place, (_, auc, _) in enumerate(rows):
        axes.annotate(f" {auc:.3f}", (max(auc, 0.5), place), va="center", fontsize=8, annotation_clip=False)
    axes.invert_yaxis()
    axes.set_xlim(0.5, 1)
    axes.set_xlabel("AUC; 0.5 is chance")
    axes.set_title("Ranking of single tokens", loc="left", weight="bold")
