"""`specreg calibrate` from the outside, on the embedded family."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.catalog import load_catalog
from registry.cli import main
from registry.records import Calibration
from tests.conftest import Outcome

Run = Callable[..., Outcome]
HEAD = "pico-little--to--pico-target"
SHORT = ("--max-new-tokens", "32")


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few dozen, each another."""
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": f"def function_{number}(value):\n"}) + "\n" for number in range(40))
    )
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, prompts: Path) -> Path:
    """A catalog with the numbers, and what the command said of them."""
    folder = tmp_path_factory.mktemp("made")
    file = folder / "mine.yaml"
    command = ("calibrate", HEAD, "--prompts", str(prompts), "--file", str(file), *SHORT, "--json")
    with pytest.MonkeyPatch.context() as patch, (folder / "told.json").open("w") as out:
        patch.setenv("SPECREG_HOME", str(folder / "home"))
        patch.setattr("sys.stdout", out)
        with pytest.raises(SystemExit) as ended:
            main(command)
    assert ended.value.code == 0
    return file


@pytest.fixture(scope="module")
def told(made: Path) -> dict[str, Any]:
    """The document."""
    found: dict[str, Any] = json.loads((made.parent / "told.json").read_text())
    return found


def test_what_is_fitted_is_worth_more_than_what_was_published(told: dict[str, Any]) -> None:
    """
    On prompts that it was not fitted on; and greedily the model's confidence tells what the head alone does not.
    """
    for judged in told["judged"].values():
        by = judged["by"]
        assert by["calibrated"]["log_loss"] < by["raw"]["log_loss"]
        assert by["with_confidence"]["ece"] < by["raw"]["ece"]
    greedy = told["judged"]["greedy"]["by"]
    assert greedy["with_confidence"]["auc"] > greedy["calibrated"]["auc"] + 0.02
    assert greedy["with_confidence"]["log_loss"] < greedy["max_probability"]["log_loss"]


def test_the_catalog_gets_the_numbers_and_nothing_else_changes(
    made: Path, told: dict[str, Any], specreg: Run
) -> None:
    """
    The entry is the one below with these numbers, its record counts on, and decoding says that it goes by them.
    """
    below = next(head for head in load_catalog(()).heads if head.edge == HEAD)
    mine = next(head for head in load_catalog(made).heads if head.edge == HEAD)
    ends = HEAD.split("--to--")
    options = ("--length", "2", "--prompt", "def f(x):", "--max-new-tokens", "8", "--catalog", str(made))

    decoded = specreg("decode", *ends, *options)

    assert mine.calibration == Calibration.model_validate(told["calibration"])
    assert mine.model_copy(update={"calibration": below.calibration}) == below
    assert specreg("verify", HEAD, "--catalog", str(made)).code == 0
    assert decoded.code == 0, decoded.err
    assert "confidence" in decoded.err


def test_fitted_again_the_entry_is_replaced(made: Path, prompts: Path, specreg: Run) -> None:
    """
    The same command over the catalog that has the numbers finds the very same ones, and leaves one entry.
    """
    before = made.read_text()

    again = specreg("calibrate", HEAD, "--prompts", str(prompts), "--file", str(made), *SHORT)

    assert again.code == 0, again.err
    assert made.read_text() == before
    assert "head and confidence" in again.out


def test_too_few_words_are_refused(prompts: Path, tmp_path: Path, specreg: Run) -> None:
    """
    Nothing is fitted to a handful of tokens, and nothing is written.
    """
    few = tmp_path / "few.jsonl"
    few.write_text("".join(prompts.read_text().splitlines(keepends=True)[:3]))
    file = tmp_path / "mine.yaml"

    found = specreg("calibrate", HEAD, "--prompts", str(few), "--file", str(file), *SHORT)

    assert found.code == 2
    assert "expected at least 200 in each half of the prompts" in found.err
    assert not file.exists()
