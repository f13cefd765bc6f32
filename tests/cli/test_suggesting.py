"""Commands that are suggested run as they are printed: quoted for a shell, and with the catalogs that were given."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.cli.entry import specreg as commands
from registry.cli.suggesting import with_catalogs
from registry.command import command
from tests.conftest import Outcome

Run = Callable[..., Outcome]
PICO = Path(__file__).parents[2] / "heads" / "pico"
HEAD = "pico-little--to--pico-target/second"


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Try `specreg verify a --repair`.", "Try `specreg verify a --repair --catalog 'my heads/é.yaml'`."),
        ("`specreg lock CATALOG --upgrade a` then", "`specreg lock 'my heads/é.yaml' --upgrade a` then"),
        ("`specreg store rebuild` mends", "`specreg store rebuild` mends"),
        ("`specreg list --catalog x`", "`specreg list --catalog x`"),
        ("specreg list and `hf download x`", "specreg list and `hf download x`"),
    ],
    ids=["added", "in its place", "takes none", "there already", "no command of ours"],
)
def test_a_suggestion_gets_the_catalogs_of_the_command_that_failed(message: str, told: str) -> None:
    """
    Only a command between backticks that takes catalogs, and names none.
    """
    assert with_catalogs(message, ["my heads/é.yaml"], commands) == told
    assert with_catalogs(message, [], commands) == message


def test_of_two_catalogs_neither_is_taken_for_the_one_to_lock() -> None:
    """
    Which of them holds the head only the user knows.
    """
    told = with_catalogs("`specreg lock CATALOG`, `specreg list`", ["a", "b"], commands)

    assert told == "`specreg lock CATALOG`, `specreg list --catalog a --catalog b`"


def test_a_command_line_comes_back_from_a_shell_as_it_was_meant() -> None:
    """
    Blanks, quotes and letters of all kinds, and each catalog once.
    """
    line = command("decode", "a", "2", catalogs=[Path("é 1/it's.yaml"), "b", Path("b")])

    assert shlex.split(line) == [
        *("specreg", "decode", "a", "2"),
        *("--catalog", "é 1/it's.yaml", "--catalog", "b"),
    ]


def test_what_publish_suggests_runs(specreg: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A head without a record: the command that records it names the catalog, and then it can be published.
    """
    monkeypatch.chdir(tmp_path)
    shutil.copytree(PICO / "pico-little--to--pico-target" / "exp-weight6-layer3", tmp_path / "mine" / HEAD)
    own = tmp_path / "my heads.yaml"
    own.write_text(
        "version: 1\nsources:\n  mine: {path: ./mine}\nheads:\n"
        "  - {source: pico-little, target: pico-target, run: second, from: mine}\n"
    )
    publish = ("publish", HEAD, "--repo", "me/x", "--dry-run", "--catalog", "my heads.yaml")

    refused = specreg(*publish)
    suggested = shlex.split(refused.err.split("`")[1])[1:]
    recorded = specreg(*suggested)

    assert (refused.code, suggested) == (1, ["lock", "my heads.yaml"])
    assert recorded.code == 0, recorded.err
    assert specreg(*publish).code == 0
