"""`specreg verify` at the command line: what is named and not here, `--quiet`, and what `--repair` prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Outcome
from tests.store.conftest import HEAD, folder

__all__ = ["folder"]

Run = Callable[..., Outcome]
EDGE, RUN = HEAD.split("/")
GONE = f"{EDGE}/gone"
COLUMNS = "file or check\tstatus\tdetail"


@pytest.fixture
def two_runs(folder: Path) -> Path:
    """A second run of the edge, which is not here; returns the folder of the first."""
    catalog = folder.parent.parent.parent / "catalog.yaml"
    catalog.write_text(catalog.read_text().replace(f"run: {RUN}", "run: gone"))
    return folder


def flip(folder: Path) -> None:
    """Change one bit of the weights."""
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_of_several_runs_those_here_are_checked(specreg: Run, two_runs: Path) -> None:
    """
    An edge's name calls all of its runs; one that is not here is told, and is no reason to check none.
    """
    del two_runs

    found = specreg("verify", EDGE, "--json")

    assert found.code == 0
    assert [one["head"] for one in json.loads(found.out)["heads"]] == [HEAD]
    assert found.err == f"specreg: Not on this machine, and not checked: {GONE}.\n"


def test_what_is_named_and_not_here_ends_with_2_after_the_rest(specreg: Run, two_runs: Path) -> None:
    """
    All else that was named is checked first.
    """
    del two_runs

    found = specreg("verify", GONE, HEAD, "-q")

    assert found.code == 2
    assert f"{HEAD}: ok\n1 checked, 0 with faults." in found.out
    assert found.err.startswith(f"specreg: {GONE} is not on this machine")


def test_quiet_is_one_line_for_each_that_is_sound(specreg: Run, folder: Path) -> None:
    """
    What is at fault is told in full all the same.
    """
    flip(folder)

    found = specreg("verify", HEAD, "pico-draft", "--quiet")

    assert found.code == 1
    assert found.out.count(COLUMNS) == 1
    assert f"{HEAD}: fail\n{COLUMNS}" in found.out
    assert "pico-draft: ok\n2 checked, 1 with faults." in found.out


def test_a_config_that_is_not_as_recorded_is_not_said_to_be_missing(specreg: Run, folder: Path) -> None:
    """
    It is there, and nothing is read out of it.
    """
    (folder / "config.json").write_text('{"hidden_size": 192, "num_layers": 2}')

    found = specreg("verify", HEAD)

    assert "config\tunknown\tno sound config.json to look into" in found.out


def test_repair_prints_what_it_could_not_mend_once(specreg: Run, folder: Path) -> None:
    """
    A head as bad as before is told in full before, and in a line after.
    """
    flip(folder)

    found = specreg("verify", HEAD, "--repair")

    assert found.code == 1
    assert found.out.count(COLUMNS) == 1
    assert found.out.endswith(f"{HEAD}: fail\n1 checked again, 1 with faults.\n")
    assert "in a folder of your own" in found.out
