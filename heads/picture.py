"""A picture in the style of all of ours, written to a file when it is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registry.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OURS: Final = "#0969da"
THEIRS: Final = "#8c959f"
INK: Final = "#24292f"
FAINT: Final = "#d0d7de"


@contextmanager
def picture(path: Path) -> Iterator[Figure]:
    """A wide figure to draw on; it becomes an SVG, PNG or PDF file at the end, the same bytes for the same content.

    Raises:
        UsageError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - only figures need it
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise UsageError('Figures need matplotlib: pip install "specreg[figures]".') from error
    with mpl.rc_context(
        {"svg.hashsalt": "specreg", "font.size": 9, "text.color": INK, "axes.edgecolor": FAINT}
    ):
        figure = Figure(figsize=(13, 4.2), layout="constrained")
        yield figure
        for axes in figure.axes:
            axes.spines[["top", "right"]].set_visible(False)
        try:
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be drawn: {error}. Name a .svg, .png or .pdf file.") from error
