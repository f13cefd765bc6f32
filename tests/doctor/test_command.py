"""`specreg doctor` at the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Outcome
from tests.doctor.ward import DRAFT_TARGET, Ward

Run = Callable[..., Outcome]


def test_json_is_the_contract(specreg: Run) -> None:
    """
    One document on stdout, every check with the same keys, and 0 for a sound chain.
    """
    found = specreg(
        *("doctor", "pico-little", "pico-target", "--length", "2", "--json"),
        *("--limit", "1", "--max-new-tokens", "4"),
    )

    document = json.loads(found.out)
    assert found.code == 0
    assert set(document) == {"ok", "models", "checks", "device"}
    assert document["ok"] is True
    assert document["models"] == ["pico-little", "pico-target"]
    assert {tuple(one) for one in document["checks"]} == {
        ("check", "subject", "status", "found", "expected", "cause", "next")
    }


def test_a_fault_is_told_with_its_cause_and_the_next_step(specreg: Run, tmp_path: Path) -> None:
    """
    What cannot be loaded ends the examination with 1, after everything that could be looked at.
    """
    ward = Ward(tmp_path / "a ward")
    ward.shelf()
    (ward.root / "pico-target" / "model.safetensors").write_bytes(b"not weights")

    found = specreg("doctor", "pico-draft", "pico-target", "--length", "2", "--catalog", str(ward.catalog))

    assert found.code == 1
    assert f"files\tok\t{DRAFT_TARGET}" in found.out
    assert "files of pico-target: fault" in found.out
    assert "  cause: " in found.out
    assert f"  next: specreg lock '{ward.catalog}'  # once the right files lie in" in found.out
    history = json.loads(specreg("store", "history", "--json").out)["verifications"]
    assert {one["name"]: one["ok"] for one in history} == {
        "pico-draft": True,
        "pico-target": False,
        DRAFT_TARGET: True,
    }


def test_what_cannot_be_looked_at_ends_with_2(specreg: Run) -> None:
    """
    A chain whose models are not on this machine is no sick chain.
    """
    found = specreg("doctor", "qwen3-0.6b", "qwen3-14b")

    assert found.code == 2
    assert "--models" in found.err


def test_a_model_that_its_own_folder_lacks_is_to_be_put_there(specreg: Run, tmp_path: Path) -> None:
    """
    From a folder of a catalog nothing can be fetched.
    """
    ward = Ward(tmp_path / "ward")
    ward.shelf()
    shutil.rmtree(ward.root / "pico-target")

    found = specreg("doctor", "pico-draft", "pico-target", "--length", "2", "--catalog", str(ward.catalog))

    assert found.code == 2
    assert "Put pico-target there, or mend the catalog." in found.err
    assert "download" not in found.err


def test_without_a_path_there_is_no_chain(specreg: Run) -> None:
    """
    A wish that no chain meets is told as `chain` tells it.
    """
    found = specreg("doctor", "pico-target", "pico-little")

    assert found.code == 1
    assert "specreg chain pico-little pico-target" in found.err
