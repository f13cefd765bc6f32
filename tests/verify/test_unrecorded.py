"""What has no record is no fault, and not verified: `verify`, `list`, `show` and the store say so."""

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
OWN = f"{EDGE}/own"


@pytest.fixture
def unrecorded(folder: Path) -> Path:
    """A catalog that was never locked, with a head under a name that no other lock knows."""
    catalog = folder.parent.parent.parent / "catalog.yaml"
    catalog.with_suffix(".lock").unlink()
    catalog.write_text(catalog.read_text().replace(f"run: {RUN},", f"run: own, path: {HEAD},"))
    return catalog


def row(specreg: Run) -> str:
    """The head's word in `list`."""
    lines = specreg("list", "--heads").out.splitlines()
    return next(line.split("\t")[1] for line in lines if line.startswith(OWN))


def test_a_head_without_a_record_is_not_called_verified(specreg: Run, unrecorded: Path) -> None:
    """
    `verify` ends with 0, says how many have no record and what makes it; `list` and `show` do not say verified.
    """
    found = specreg("verify", OWN, "--catalog", str(unrecorded))

    assert found.code == 0
    assert f"{OWN}: unrecorded" in found.out
    assert "1 checked, 0 with faults, 1 without a record." in found.out
    assert found.out.splitlines()[-1].endswith(f"Make it: specreg lock {unrecorded}")
    assert row(specreg) == "unrecorded"
    assert "installed\tunrecorded" in specreg("show", OWN).out
    shown = json.loads(specreg("show", OWN, "--json").out)["heads"][0]
    assert (shown["recorded"], shown["verified"], shown["verification_ok"]) == (False, None, None)


def test_a_record_made_later_does_not_make_it_verified(specreg: Run, unrecorded: Path) -> None:
    """
    What was looked at before there was a record is only installed, until it is verified.
    """
    specreg("verify", OWN)
    assert specreg("lock", str(unrecorded)).code == 0

    assert row(specreg) == "installed"
    specreg("verify", OWN)
    assert row(specreg).startswith("verified ")


def test_the_history_says_that_there_was_no_record(specreg: Run, unrecorded: Path) -> None:
    """
    The outcome kept is 'unrecorded', as text and as JSON.
    """
    del unrecorded
    specreg("verify", OWN)

    assert "\tunrecorded\tno record to hold its files against\t" in specreg("store", "history").out
    (one,) = json.loads(specreg("store", "history", "--json").out)["verifications"]
    assert (one["ok"], one["recorded"]) == (True, False)
