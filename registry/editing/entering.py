"""A head that was made or calibrated on this machine, entered into a catalog file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.catalog import load_catalog
from registry.editing.edits import edit_catalog
from registry.editing.importplan import Origin, origin_of
from registry.errors import UsageError
from registry.reading.fields import PATH
from registry.recording import record_catalog, write_recording
from registry.records import Calibration, Head

if TYPE_CHECKING:
    from registry.editing.draft import Draft

SOURCE_NAME = "trained"


def require_enterable(file: Path, root: Path) -> None:
    """Ask before anything is trained whether a catalog file could name heads below `root`.

    Raises:
        UsageError: `root` does not lie below the folder of `file`, or cannot be made; nothing was made.
        CatalogError: `file`, or a catalog below it, cannot be used.
    """
    base = file.absolute().parent
    written = os.path.relpath(root.absolute(), base).replace(os.sep, "/")
    if not PATH.accepts(written) or not PATH.accepts(_led_to(root, base)):
        raise UsageError(
            f"{ascii(str(root))[1:-1][:200]} does not lie below {base}, where the catalog's own paths start, or no "
            f"catalog can name it: expected {PATH.expected}. Give another --out, or a --file above it."
        )
    load_catalog(file if file.exists() else ())
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{root} cannot be made: {error.strerror}. Give another --out.") from error
    _origin(file, root)


def enter_head(
    file: Path,
    root: Path,
    *,
    source: str,
    target: str,
    run: str,
    training: Mapping[str, Any],
    calibration: Calibration | None,
) -> Head:
    """Name the head `<source>--to--<target>/<run>` below `root` in a catalog file, and record its files in the lock.

    A head of that name in the file keeps its entry, and gets the calibration.

    Args:
        file: The catalog; begun where there is none.
        root: The folder that heads lie in, below that of `file`.
        source, target: Aliases that the catalogs know.
        run: Name of the training run.
        training: What its trainer_state.json says in short.
        calibration: What was fitted, if anything.

    Raises:
        UsageError: the file cannot be edited, or holds a head of that name from elsewhere.
        CatalogError: it, or a catalog below it, cannot be used.
    """
    origin = _origin(file, root)
    head = Head.model_construct(source=source, target=target, run=run, from_=SOURCE_NAME)
    told = {"training": dict(training)} if training else {}
    if calibration is not None:
        told["calibration"] = calibration.model_dump(exclude_none=True)

    def change(draft: Draft) -> None:
        known = load_catalog(file if file.exists() else ())
        name = _source_of(origin, file, known.sources, draft.names("sources"))
        if head.name in draft.head_names():
            there = next(one for one in known.heads if one.name == head.name)
            if there.from_ != name or there.folder != head.name:
                raise UsageError(
                    f"{file} has {head.name} from {there.from_} already. Give another --run, or take it out with "
                    f"`specreg catalog remove head {head.name} --file {file}`."
                )
            draft.remove_head(head.name)
        if name not in draft.names("sources"):
            draft.add_entries("sources", {name: origin.place})
        draft.add_heads([{"source": source, "target": target, "run": run, "from": name, **told}])

    _, catalog = edit_catalog(file, change, create=True)
    write_recording(record_catalog(file, names=(head.name,), local=True))
    return next(one for one in catalog.heads if one.name == head.name)


def enter_calibration(file: Path, head: Head, calibration: Calibration) -> None:
    """Give a head a calibration in a catalog file, whose entry lies over that of the catalogs below.

    The head's files and their record stay what they are.

    Args:
        file: The catalog; begun where there is none.
        head: As the catalogs know it.
        calibration: What was fitted.

    Raises:
        UsageError: the file cannot be edited.
        CatalogError: it, or a catalog below it, cannot be used.
    """
    entry = head.model_dump(by_alias=True, exclude_none=True)
    entry["calibration"] = calibration.model_dump(exclude_none=True)

    def change(draft: Draft) -> None:
        if head.name in draft.head_names():
            draft.remove_head(head.name)
        draft.add_heads([entry])

    edit_catalog(file, change, create=True)


def _origin(file: Path, root: Path) -> Origin:
    return origin_of(str(root.absolute()), revision=None, base=file.absolute().parent)


def _led_to(root: Path, base: Path) -> str:
    """Where links lead, as a catalog there would name it."""
    return os.path.relpath(os.path.realpath(root), os.path.realpath(base)).replace(os.sep, "/")


def _source_of(origin: Origin, file: Path, known: Mapping[str, Any], own: tuple[str, ...]) -> str:
    """The file's own source of that folder, or a name for it that nobody has."""
    base = file.absolute().parent
    for name in own:
        one = known[name]
        place = None if one.path is None or one.package is not None else (one.base or base) / one.path
        if place is not None and os.path.realpath(place) == str(origin.folder):
            return name
    made, count = SOURCE_NAME, 1
    while made in known:
        count += 1
        made = f"{SOURCE_NAME}-{count}"
    return made
