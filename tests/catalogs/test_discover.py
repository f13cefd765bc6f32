"""`specreg discover`: what the sources hold now, beside the catalog and its lock."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.catalogs.conftest import FIRST, REPO, SECOND
from tests.conftest import Outcome
from tests.hub.server import LocalHub, Refusal
from tests.registry.stored import write_head

BUILTIN = "ArcticHuaji/specdecpp-acc-heads"
OURS = "qwen3-0.6b--to--qwen3-1.7b/exp-weight6-layer3"
Run = Callable[..., Outcome]
pytestmark = pytest.mark.usefixtures("hub")


def found(specreg: Run, own: Path, *arguments: str) -> tuple[int, dict[str, str]]:
    """Exit code, and how each head of the user's source stands."""
    outcome = specreg("discover", "theirs", "--catalog", str(own), "--json", *arguments)
    rows = json.loads(outcome.out)["sources"][0]["heads"]
    return outcome.code, {row["head"]: row["status"] for row in rows}


def test_new_heads_are_found_and_the_way_to_take_them_in(specreg: Run, own: Path) -> None:
    """
    A head that the catalog does not have is good news; the command told takes it in.
    """
    assert found(specreg, own) == (0, {FIRST: "unrecorded", SECOND: "new"})
    lines = specreg("discover", "theirs", "--catalog", str(own)).out.splitlines()

    command = f"specreg import {REPO} --revision main --into {own} --source-name theirs"
    assert f"take in\t{command}" in lines
    assert specreg(*command.split()[1:]).code == 0
    assert found(specreg, own) == (0, {FIRST: "unrecorded", SECOND: "unrecorded"})


@pytest.mark.parametrize("old", ["kept", "lost"])
def test_changes_since_the_lock_are_found(specreg: Run, hub: LocalHub, own: Path, old: str) -> None:
    """
    A file that is new, gone or other is named, also where the recorded commit is no longer served.
    """
    specreg("lock", str(own))
    assert found(specreg, own)[1][FIRST] == "same"
    if old == "kept":
        hub.keep(REPO)
    hub.put(REPO, f"{FIRST}/README.md", b"# other, and longer\n")

    code, stands = found(specreg, own)
    lines = specreg("discover", "theirs", "--catalog", str(own)).out.splitlines()

    assert (code, stands[FIRST]) == (0, "changed")
    assert f"changed\t{FIRST}\tREADME.md" in lines
    assert f"take in\tspecreg lock {own} --upgrade {FIRST}" in lines


def test_a_change_in_the_builtin_catalog_is_taken_in(
    specreg: Run, hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    That catalog is not edited: the commands told, run as they are printed, lay an entry over it and fetch its files.
    """
    monkeypatch.chdir(tmp_path)
    write_head(hub.root / BUILTIN / OURS)
    specreg("download", OURS)
    hub.put(BUILTIN, f"{OURS}/config.json", b'{"hidden_size": 4,  "num_layers": 2}')
    again = specreg("download", OURS).out
    assert "`specreg discover specdecpp` tells whether the Hub holds others now" in again

    lines = [line.split("\t") for line in specreg("discover", "specdecpp").out.splitlines()]
    steps = [line[1].split() for line in lines if line[0] == "take in"]
    for step in steps:
        assert specreg(*step[1:]).code == 0, step

    assert len(steps) == 3
    assert not [line for line in lines if line[0] == "take out"]
    assert f"same\t{OURS}" in specreg("discover", "specdecpp", "--catalog", "mine.yaml").out


def test_a_commit_that_changed_other_things_changes_no_head(specreg: Run, hub: LocalHub, own: Path) -> None:
    """
    The branch moved, the head did not.
    """
    specreg("lock", str(own))
    hub.keep(REPO)
    hub.put(REPO, "README.md", b"# other\n")

    assert found(specreg, own)[1][FIRST] == "same"


def test_a_head_that_is_gone_is_a_fault(specreg: Run, hub: LocalHub, own: Path) -> None:
    """
    It ends with 1, and says how to take the entry out.
    """
    shutil.rmtree(hub.root / REPO / FIRST)

    outcome = specreg("discover", "theirs", "--catalog", str(own))

    assert outcome.code == 1
    assert f"gone\t{FIRST}" in outcome.out.splitlines()
    assert f"specreg catalog remove head {FIRST}" in outcome.out


def test_a_lost_page_is_not_taken_for_a_head_that_is_gone(specreg: Run, hub: LocalHub, own: Path) -> None:
    """
    Before a head is called gone its own folder is asked for.
    """
    specreg("lock", str(own))
    whole = len(hub.files(REPO))
    hub.faults.rows = lambda rows: rows[:1] if len(rows) == whole else rows

    code, stands = found(specreg, own)

    assert (code, stands) == (0, {FIRST: "same"})


def test_a_hub_that_cannot_be_asked_ends_with_2(specreg: Run, hub: LocalHub, own: Path) -> None:
    """
    The sentence stands on stderr, and what could be looked at is told all the same.
    """
    hub.faults.refusals = [Refusal(status=403, where=REPO)]

    outcome = specreg("discover", "theirs", "pico", "--catalog", str(own))

    assert outcome.code == 2
    assert "forbids to read" in outcome.err
    assert "same\tpico-little--to--pico-draft/exp-weight6-layer3" in outcome.out.splitlines()


def test_a_folder_is_looked_at_when_it_is_named(specreg: Run, hub: LocalHub, tmp_path: Path) -> None:
    """
    A source in a folder has new, changed and gone heads too.
    """
    shutil.copytree(hub.root / REPO, tmp_path / "mine")
    file = tmp_path / "new.yaml"
    specreg("import", str(tmp_path / "mine"), "--into", str(file))
    specreg("lock", str(file), "--local")
    shutil.copytree(tmp_path / "mine" / FIRST, tmp_path / "mine" / "little--to--middle" / "another")
    (tmp_path / "mine" / FIRST / "config.json").write_text("{}")
    shutil.rmtree(tmp_path / "mine" / SECOND)

    outcome = specreg("discover", "mine", "--catalog", str(file))

    assert outcome.code == 1
    assert {
        f"changed\t{FIRST}\tconfig.json",
        f"gone\t{SECOND}",
        "new\tlittle--to--middle/another",
    } <= set(outcome.out.splitlines())


def test_an_unknown_source_is_said(specreg: Run) -> None:
    """
    With the nearest name there is.
    """
    outcome = specreg("discover", "specdec")

    assert outcome.code == 1
    assert "'specdecpp'" in outcome.err
