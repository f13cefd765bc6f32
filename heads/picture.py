"""A picture in the style of all of ours, written to a file when it is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registry.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS: Final = (".svg", ".png", ".pdf")
OURS: Final = "#0969da"
THEIRS: Final = "#8c959f"
INK: Final = "#24292f"
FAINT: Final = "#d0d7de"
NEEDS: Final = 'Figures need matplotlib: pip install "specreg[figures]".'


def require_drawable(path: Path) -> None:
    """Refuse a picture that could not be drawn, before hours are spent on what it would show.

    Raises:
        UsageError: matplotlib is not installed, it is no file of ours, or its folder is not there.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"{path} cannot be drawn: expected a {' or '.join(FORMATS)} file. Name one of those."
        )
    if not path.absolute().parent.is_dir():
        raise UsageError(
            f"{path} cannot be drawn: there is no folder {path.parent}. Make it, or name another."
        )
    if find_spec("matplotlib") is None:
        raise UsageError(NEEDS)


@contextmanager
def picture(path: Path) -> Iterator[Figure]:
    """A wide figure to draw on; it becomes an SVG, PNG or PDF file at the end, the same bytes for the same content.

    Raises:
        UsageError: it cannot be drawn, or the file cannot be written.
    """
    require_drawable(path)
    try:
        import matplotlib as mpl  # noqa: PLC0415 - only figures need it
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(NEEDS) from error
    with mpl.rc_context(
        {"svg.hashsalt": "specreg", "font.size": 9, "text.color": INK, "axes.edgecolor": FAINT}
    ):
        figure = Figure(figsize=(13, 4.2), layout="constrained")
        yield figure
        for axes in figure.axes:
            axes.spines[["top", "right"]].set_visible(False)
        try:
            figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be drawn: {error}. Name a .svg, .png or .pdf file.") from error
