"""A head that was made here is entered into a catalog file, and recorded, without a word of it being lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.catalog import load_catalog
from registry.editing.entering import enter_head, require_enterable
from registry.errors import UsageError
from registry.lock import read_lock
from registry.records import Calibration, Head
from tests.registry.stored import write_head

ONE = Calibration(scale=0.9, bias=1.5)


def entered(
    root: Path, *, run: str = "run", file: Path | None = None, calibration: Calibration | None = ONE
) -> Head:
    """A small head below `root`, entered."""
    write_head(root / "pico-little--to--pico-draft" / run)
    return enter_head(
        file or root / "catalog.yaml",
        root,
        source="pico-little",
        target="pico-draft",
        run=run,
        training={"steps": 3},
        calibration=calibration,
    )


def test_a_catalog_is_begun_and_the_head_recorded(tmp_path: Path) -> None:
    """
    A new file gets a source, the head with its training and calibration, and a lock.
    """
    head = entered(tmp_path)

    assert (head.from_, head.calibration) == ("trained", ONE)
    assert head.training is not None
    assert head.training.steps == 3
    assert head.name in read_lock(tmp_path / "catalog.lock").heads


def test_the_source_of_that_folder_is_used_again_and_comments_stay(tmp_path: Path) -> None:
    """
    A user's own catalog keeps its words; no second source of one folder is made.
    """
    file = tmp_path / "mine.yaml"
    file.write_text("version: 1\n# my heads\nsources:\n  home: {path: ./kept}  # at home\n")

    entered(tmp_path / "kept", run="one", file=file)
    head = entered(tmp_path / "kept", run="two", file=file)

    assert head.from_ == "home"
    assert "# my heads\nsources:\n  home: {path: ./kept}  # at home\n" in file.read_text()
    assert len(load_catalog(file).heads) == len(load_catalog().heads) + 2


def test_a_taken_name_of_a_source_is_not_taken_twice(tmp_path: Path) -> None:
    """
    Another place is called `trained` already: the new source gets a name of its own.
    """
    file = tmp_path / "mine.yaml"
    file.write_text("version: 1\nsources:\n  trained: {path: ./other}\n")

    assert entered(tmp_path / "kept", file=file).from_ == "trained-2"


def test_entered_again_it_has_the_new_calibration(tmp_path: Path) -> None:
    """
    One entry, whose calibration is the last that was fitted.
    """
    entered(tmp_path)
    again = entered(tmp_path, calibration=Calibration(scale=2.0, bias=0.0))

    heads = [head for head in load_catalog(tmp_path / "catalog.yaml").heads if head.run == "run"]
    assert heads == [again]
    assert again.calibration == Calibration(scale=2.0, bias=0.0)


def test_a_head_of_that_name_from_elsewhere_is_not_overwritten(tmp_path: Path) -> None:
    """
    The entry stays, and the sentence says how to make room.
    """
    file = tmp_path / "mine.yaml"
    text = (
        "version: 1\nsources:\n  other: {path: ./other}\nheads:\n"
        "  - {source: pico-little, target: pico-draft, run: run, from: other}\n"
    )
    file.write_text(text)

    with pytest.raises(UsageError, match="from other already"):
        entered(tmp_path / "kept", file=file)
    assert file.read_text() == text


def test_a_folder_that_the_catalog_could_not_name_is_refused_first(tmp_path: Path) -> None:
    """
    Heads lie below the catalog's own folder, since its paths start there.
    """
    (tmp_path / "aside").mkdir()

    with pytest.raises(UsageError, match="does not lie below"):
        require_enterable(tmp_path / "aside" / "catalog.yaml", tmp_path / "heads")
