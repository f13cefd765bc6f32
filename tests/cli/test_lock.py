"""`specreg lock`: a user's own heads get their record."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Outcome

ROOT = Path(__file__).parent.parent.parent
SHIPPED = "pico-little--to--pico-draft/exp-weight6-layer3"
HEAD = "pico-little--to--pico-draft/own-layer3"
Run = Callable[..., Outcome]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's catalog with one head in a folder beside it, without a lock."""
    shutil.copytree(ROOT / "heads" / "pico" / SHIPPED, tmp_path / "mine" / HEAD)
    (tmp_path / "own.yaml").write_text(
        "version: 1\nsources:\n  mine: {path: ./mine}\nheads:\n"
        "  - {source: pico-little, target: pico-draft, run: own-layer3, from: mine}\n"
    )
    return tmp_path / "own.yaml"


def test_a_head_of_ones_own_decodes_once_it_is_recorded(specreg: Run, own: Path) -> None:
    """
    Before the lock it is refused with the way out, after it it decodes.
    """
    chain = ("pico-little", "pico-draft", "--run", "own-layer3", "--catalog", str(own))
    decode = ("decode", *chain, "--prompt", "x", "--max-new-tokens", "2")
    refused = specreg(*decode)
    locked = specreg("lock", str(own))

    assert refused.code == 1
    assert "specreg lock" in refused.err
    assert locked.code == 0
    assert specreg(*decode).code == 0


def test_check_finds_what_changed_and_writes_nothing(specreg: Run, own: Path) -> None:
    """
    After a change of one file --check ends with 1, names the head and leaves the lock alone.
    """
    specreg("lock", str(own))
    before = own.with_suffix(".lock").read_bytes()
    assert specreg("lock", str(own), "--check").code == 0
    (own.parent / "mine" / HEAD / "config.json").write_text('{"hidden_size": 192, "num_layers": 2}')

    found = specreg("lock", str(own), "--check", "--json")

    assert found.code == 1
    assert json.loads(found.out)["changed"] == [HEAD]
    assert own.with_suffix(".lock").read_bytes() == before


def test_the_shipped_lock_holds(specreg: Run) -> None:
    """
    The lock at the top is the one that its own command would write.
    """
    found = specreg("lock", str(ROOT / "catalog.yaml"), "--check", "--json")

    assert found.code == 0
    assert len(json.loads(found.out)["recorded"]) == 6


def test_a_folder_that_is_not_there_is_said(specreg: Run, own: Path) -> None:
    """
    A head whose folder is missing ends with 2, and nothing is written.
    """
    shutil.rmtree(own.parent / "mine")

    found = specreg("lock", str(own))

    assert found.code == 2
    assert HEAD in found.err
    assert not own.with_suffix(".lock").exists()
