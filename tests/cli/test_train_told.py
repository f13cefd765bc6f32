"""What `specreg train` and `specreg evaluate` say of prompts, places and names, and what they refuse at once."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from registry.cli import main
from tests.conftest import Outcome

Run = Callable[..., Outcome]
EDGE = "pico-little--to--pico-draft"
SHORT = ("--max-new-tokens", "4", "--layers", "0", "--epochs", "1")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"prompt": "def f(x):"}) + "\n")
    return path


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A folder, and what the training of a head on one prompt said there."""
    folder = tmp_path_factory.mktemp("told")
    (folder / "one.jsonl").write_text(json.dumps({"prompt": "def f(x):"}) + "\n")
    (folder / "other's.yaml").write_text("version: 1\n")
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setenv("SPECREG_HOME", str(folder / "home"))
        patch.delenv("SPECREG_CATALOG", raising=False)
        patch.chdir(folder)
        with pytest.raises(SystemExit) as ended:
            main(
                [
                    *("train", "pico-little", "pico-draft", "--prompts", "one.jsonl", "--run", "mine"),
                    *("--out", "é 1", "--catalog", "other's.yaml", *SHORT),
                ]
            )
    return folder, Outcome(code=int(ended.value.code or 0), out=out.getvalue(), err=err.getvalue())


def test_the_command_that_uses_a_head_runs_as_it_is_printed(
    specreg: Run, alone: tuple[Path, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Its catalogs are those that were given and the head's own, quoted for a shell.
    """
    folder, told = alone
    monkeypatch.chdir(folder)
    (line,) = [line for line in told.err.splitlines() if line.startswith("Use it: ")]

    words = shlex.split(line.removeprefix("Use it: "))
    decoded = specreg(*words[1:], "--max-new-tokens", "2")

    assert words[7:11] == ["mine", "--catalog", "other's.yaml", "--catalog"]
    assert decoded.code == 0, decoded.err


def test_a_head_that_was_judged_by_nothing_is_told(alone: tuple[Path, Outcome]) -> None:
    """
    One prompt leaves none to hold out: what that means, and what to do about it.
    """
    _, told = alone

    assert told.code == 0
    assert "neither evaluated nor calibrated. It learned from 4 positions. Give more prompts" in told.err


@pytest.mark.parametrize("run", ["../../../evil", "/var/x", "a/b", "", "mine ü"])
def test_a_run_of_no_name_is_refused_before_anything_is_there(
    specreg: Run, prompts: Path, tmp_path: Path, run: str
) -> None:
    """
    The very sentence of the catalog's rule, and not one file or folder more than before.
    """
    before = sorted(tmp_path.rglob("*"))

    found = specreg(
        *("train", "pico-little", "pico-draft", "--prompts", str(prompts), "--run", run),
        *("--out", str(tmp_path / "out"), *SHORT),
    )

    assert found.code == 2
    assert "expected a name of letters, digits" in found.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("option", "file", "told"),
    [
        ("--figure", "x.gif", "expected a .svg or .png or .pdf file"),
        ("--figure", "none/x.svg", "there is no folder"),
        ("--out", "none/x.json", "there is no folder"),
        ("--out", ".", "it is a folder"),
    ],
)
@pytest.mark.parametrize(
    "command", [("evaluate", EDGE), ("bench", "pico-little", "pico-draft")], ids=" ".join
)
def test_what_could_not_be_written_is_refused_at_once(
    specreg: Run, tmp_path: Path, command: tuple[str, ...], option: str, file: str, told: str
) -> None:
    """
    Before the prompts are read, which are not there.
    """
    if command[0] == "bench" and option == "--out":
        option = "--json"

    found = specreg(*command, "--prompts", str(tmp_path / "nowhere"), option, str(tmp_path / file))

    assert found.code == 2
    assert told in found.err


def test_evaluate_says_which_prompts_it_leaves_out(specreg: Run, prompts: Path) -> None:
    """
    A prompt that leaves no room for the new tokens is counted, in words and in JSON.
    """
    with prompts.open("a") as more:
        more.write(json.dumps({"prompt": "x = 1\n" * 2000}) + "\n")

    found = specreg("evaluate", EDGE, "--prompts", str(prompts), "--max-new-tokens", "4", "--json")

    assert found.code == 0, found.err
    report = json.loads(found.out)
    assert (report["prompts"], report["left_out"]) == (1, 1)
    assert "1 of 2 prompts is left out: with 4 new tokens longer than" in found.err
