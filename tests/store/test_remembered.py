"""What the commands and a pipeline do is in the store afterwards, and the store is never in their way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import registry
from registry.store.store import Store
from tests.conftest import Outcome
from tests.hub.conftest import EDGE, Machine, hub, machine
from tests.store.conftest import HEAD
from tests.verify.conftest import Command, catalog, command, installed, spoil

__all__ = ["catalog", "command", "hub", "installed", "machine"]

Run = Callable[..., Outcome]

SECOND = """
import sys
from registry.cli import main
try:
    main(["download", "{edge}"])
except SystemExit as ended:
    assert not ended.code
print({{"sqlmodel", "sqlalchemy", "huggingface_hub", "httpx"}} & set(sys.modules))
"""
PIPELINE = """
import registry
pipeline = registry.resolve_pipeline("a", "b")
pipeline.download()
assert pipeline.verify().ok
"""


def word(specreg: Run) -> str:
    """What `list` says of the head, without the time."""
    lines = specreg("list", "--heads").out.splitlines()
    return next(line.split("\t")[1] for line in lines if line.startswith(HEAD)).split(" ")[0]


def history(command: Command) -> list[tuple[str, bool]]:
    """Name and outcome of every verification, the latest first."""
    rows: list[dict[str, Any]] = json.loads(command("store", "history", "--json").stdout)["verifications"]
    return [(row["name"], row["ok"]) for row in rows]


def environment(machine: Machine) -> dict[str, str]:
    """The environment of a program of its own; the catalog's file is there."""
    catalog = str(machine.folder / "catalog.yaml")
    return {**os.environ, "HF_ENDPOINT": machine.hub.endpoint, "SPECREG_CATALOG": catalog}


def test_a_verification_is_remembered_and_told(specreg: Run, folder: Path) -> None:
    """
    After `verify` the history has it, `list` and `show` say verified, and a fault found later says faulty.
    """
    assert word(specreg) == "installed"
    assert specreg("verify", HEAD, "pico-draft").code == 0

    rows = json.loads(specreg("store", "history", "--json").out)["verifications"]
    assert {(row["kind"], row["name"], row["ok"]) for row in rows} == {
        ("head", HEAD, True),
        ("model", "pico-draft", True),
    }
    assert word(specreg) == "verified"
    assert "installed\tverified" in specreg("show", HEAD).out

    (folder / "config.json").write_text("{}\n")
    assert specreg("verify", HEAD).code == 1
    assert word(specreg) == "faulty"


def test_a_repair_is_remembered_as_it_was_and_as_it_is(installed: Machine, command: Command) -> None:
    """
    The fault and the mended head are both in the history, and `list` tells of the mended one.
    """
    spoil(installed)

    assert command("verify", EDGE, "--repair").returncode == 0

    assert history(command) == [(EDGE, True), (EDGE, False)]
    (row,) = [one for one in json.loads(command("list", "--json").stdout)["heads"] if one["head"] == EDGE]
    assert row["verification_ok"] is True


def test_a_download_is_remembered_once(machine: Machine, command: Command) -> None:
    """
    The store knows the checkpoint; a dry run leaves none, and a second download asks neither store nor Hub.
    """
    assert command("download", EDGE, "--dry-run").returncode == 0
    assert json.loads(command("store", "show", "--json").stdout)["checkpoints"] == 0
    ended = command("download", EDGE)
    assert (ended.returncode, ended.stderr) == (0, "")
    with Store.open() as store:
        (seen,) = store.checkpoints()
    assert (seen.name, seen.folder, seen.repo) == (EDGE, str(machine.snapshot), "org/heads")
    assert {file.path for file in seen.files if file.sha256} == {"config.json", "model.safetensors"}
    machine.hub.requests.clear()

    again = subprocess.run(
        [sys.executable, "-c", SECOND.format(edge=EDGE)],
        env=environment(machine),
        capture_output=True,
        text=True,
        check=False,
    )

    assert again.stdout.splitlines()[-1] == "set()", again.stderr
    assert machine.hub.requests == []


@pytest.mark.parametrize("arguments", [("verify",), ("download", "pico-little", "pico-draft")])
def test_a_store_that_cannot_be_used_is_a_word_on_stderr(
    specreg: Run, store_file: Path, arguments: tuple[str, ...]
) -> None:
    """
    The command ends as it would have, with its document whole, and says what is not remembered.
    """
    store_file.parent.mkdir(parents=True)
    store_file.write_text("no database at all, but longer than nothing\n" * 100)

    ended = specreg(*arguments, "--json")

    assert ended.code == 0
    assert json.loads(ended.out)["heads"]
    assert ended.err.startswith("specreg: ")
    assert "only the store does not know of it." in ended.err


def test_a_pipeline_is_remembered(machine: Machine, command: Command) -> None:
    """
    What another program downloads and verifies is in the store too.
    """
    subprocess.run(
        [sys.executable, "-c", PIPELINE],
        env=environment(machine),
        check=True,
    )

    assert history(command) == [(EDGE, True)]
    with Store.open() as store:
        assert [seen.folder for seen in store.checkpoints()] == [str(machine.snapshot)]


def test_a_pipeline_warns_of_a_store_that_cannot_be_used(store_file: Path) -> None:
    """
    The verification stands; that nothing remembers it is a warning.
    """
    store_file.parent.mkdir(parents=True)
    store_file.write_text("no database at all, but longer than nothing\n" * 100)

    with pytest.warns(RuntimeWarning, match="only the store does not know of it"):
        assert registry.resolve_pipeline("pico-little", "pico-draft").verify().ok
