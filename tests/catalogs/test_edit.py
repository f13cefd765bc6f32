"""Editing a catalog file: what was meant changes, and no other character."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.catalog import load_catalog
from registry.editing import edits as editing
from registry.editing.draft import Draft
from registry.editing.edits import edit_catalog
from registry.errors import CatalogError, UsageError
from tests.catalogs.conftest import CATALOG, FIRST
from tests.conftest import Outcome

Run = Callable[..., Outcome]
PROGRAM = "from registry.cli import main; main()"
ITEM = {"source": "middle", "target": "large", "run": "r", "from": "theirs"}

# Catalogs of any layout: blocks and brackets, comments everywhere, either line end, odd indents.
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,6}(\.[0-9])?", fullmatch=True)
NOTES = st.sampled_from(["", " # note", "  # über: {x} - 'y'"])


@st.composite
def catalogs(draw: st.DrawFn) -> str:
    """A sound catalog's text, with comments that all hold the word 'note' or 'über'."""
    own_line = st.sampled_from(["", "", "# note of its own\n", "\n", "  # deeper note\n"])
    indent, dash = " " * draw(st.integers(1, 5)), " " * draw(st.integers(0, 4))
    names = draw(st.lists(NAMES, min_size=2, max_size=5, unique=True))
    flow = draw(st.booleans())
    text = draw(own_line) + f"version: 1{draw(NOTES)}\n" + draw(own_line)
    text += f"sources:{draw(NOTES)}\n{indent}here:{draw(NOTES)}\n{indent}  path: ./x{draw(NOTES)}\n{draw(own_line)}"
    if flow:
        text += "models: {" + ", ".join(f"{name}: {{hidden_size: 4}}" for name in names) + "}\n"
    else:
        text += f"models:{draw(NOTES)}\n"
        for name in names:
            text += draw(own_line)
            if draw(st.booleans()):
                text += f"{indent}{name}: {{hidden_size: 4}}{draw(NOTES)}\n"
            else:
                text += f"{indent}{name}:{draw(NOTES)}\n{indent}  hub: 'org/{name}'{draw(NOTES)}\n"
    pair = f"source: {names[0]}", f"target: {names[1]}"
    if draw(st.booleans()):
        text += draw(own_line) + f"heads:{draw(NOTES)}\n"
        for run in draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)):
            if draw(st.booleans()):
                text += f'{dash}- {{{pair[0]}, {pair[1]}, run: "{run}", from: here}}{draw(NOTES)}\n'
            else:
                text += f"{dash}- {pair[0]}{draw(NOTES)}\n{dash}  {pair[1]}\n{dash}  run: '{run}'\n{dash}  from: here\n"
            text += draw(own_line)
    if draw(st.booleans()):
        text = text.removesuffix("\n")
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


def notes(text: str) -> list[str]:
    """Every comment, in order."""
    return [line.partition("#")[2].strip() for line in text.splitlines() if "#" in line]


@settings(max_examples=40)
@given(text=catalogs(), run=NAMES, wide=st.booleans())
def test_what_was_added_and_taken_out_again_leaves_no_trace(text: str, run: str, wide: bool) -> None:
    """
    A model and a head come and go: the catalog says the same, every comment stays, and the rest of the text too.
    """
    draft = Draft(text, "f")
    first, second = draft.names("models")[:2]
    had_heads = bool(draft.head_names())
    draft.add_entries("models", {"new-one": {"hub": "a/b", "hidden_size": 4} if wide else {"gated": True}})
    draft.add_heads([{"source": "new-one", "target": second, "run": run, "from": "here"}])
    draft.add_heads([{"source": first, "target": "new-one", "run": "no", "from": "here"}])
    between = draft.text
    assert notes(between) == notes(text)
    assert draft.remove_head("new-one--to--" + second) == f"new-one--to--{second}/{run}"
    draft.remove_head(f"{first}--to--new-one/no")
    draft.remove_entry("models", "new-one")

    assert notes(draft.text) == notes(text)
    assert draft.names("models") == Draft(text, "f").names("models")
    assert draft.head_names() == Draft(text, "f").head_names()
    if had_heads:
        assert draft.text == text


@settings(max_examples=30)
@given(text=catalogs(), at=st.integers(0, 9))
def test_a_head_that_goes_takes_only_its_own_lines(text: str, at: int) -> None:
    """
    The other heads stay, in their order, and comments on lines of their own at the list's depth or above stay.
    """
    draft = Draft(text, "f")
    before = draft.head_names()
    if not before:
        return
    gone = before[at % len(before)]

    draft.remove_head(gone)

    assert draft.head_names() == tuple(name for name in before if name != gone)
    assert draft.names("models") == Draft(text, "f").names("models")
    assert notes(draft.text).count("note of its own") == notes(text).count("note of its own")


@settings(max_examples=40)
@given(
    text=catalogs(),
    value=st.one_of(
        st.integers(1, 10**18).map(str),
        st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=12),
    ),
)
def test_a_value_that_is_set_is_the_value_that_is_read(text: str, value: str) -> None:
    """
    Whatever is typed for a text key stands there as that text, quoted where YAML would take it for something else.
    """
    draft = Draft(text, "f")
    name = draft.names("models")[-1]

    draft.set_value(name, "license", value)

    again = Draft(draft.text, "f")
    assert again._data["models"][name]["license"] == value
    assert notes(draft.text)[-1:] == notes(text)[-1:] or "#" in value


def test_every_command_edits_and_the_result_loads(specreg: Run, tmp_path: Path) -> None:
    """
    From no file at all: a source, a tokenizer, a model and a head; changed; then taken out again.
    """
    file = str(tmp_path / "new.yaml")
    done = [
        specreg("catalog", "add", "source", "mine", "--path", "./heads", "--file", file),
        specreg("catalog", "add", "tokenizer", "tok", "--vocab-size", "8", "--file", file),
        specreg("catalog", "add", "model", "m", "--hidden-size", "8", "--tokenizer", "tok", "--file", file),
        specreg(
            "catalog", "add", "head", "m", "QWEN/qwen3-14b", "--run", "r", "--from", "mine", "--file", file
        ),
        specreg("catalog", "set", "m--to--qwen3-14b", "calibration", "{scale: 1.5, bias: 0}", "--file", file),
        specreg("catalog", "set", "m", "aliases", "m-1, m-2", "--file", file),
    ]
    assert [one.code for one in done] == [0] * 6
    assert done[3].out == f"added\thead\tm--to--qwen3-14b/r\t{file}\n"
    catalog = load_catalog(file)
    head = catalog.heads[-1]
    assert (head.target, head.calibration and head.calibration.scale) == ("qwen3-14b", 1.5)
    assert catalog.models["m"].aliases == ("m-1", "m-2")

    specreg("catalog", "remove", "head", "M--to--qwen3-14b", "--file", file)
    gone = specreg("catalog", "remove", "model", "m", "--file", file, "--json")
    assert json.loads(gone.out) == {"done": "removed", "kind": "model", "name": "m", "file": file}
    assert "m" not in load_catalog(file).models


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("remove", "model", "little"), "'little' is no model"),
        (("remove", "source", "theirs"), "'theirs' is no source"),
        (("remove", "head", "no--to--such"), "No head of"),
        (("remove", "model", "qwen3-14b"), "No model of"),
        (("add", "model", "little"), "already"),
        (("add", "model", "a--to--b"), "without the '--to--'"),
        (("add", "model", "x", "--hub", "a/b", "--path", "y"), "expected one place"),
        (("add", "model", "x", "--path", "../y"), "no '..'"),
        (("add", "model", "x", "--tokenizer", "none"), "'none' is no tokenizer"),
        (("add", "model", "x", "--hidden-size", "0"), "from 1 up"),
        (("add", "head", "little", "middle", "--run", "EXP-weight6-layer2", "--from", "theirs"), "already"),
        (("add", "head", "little", "little", "--run", "r", "--from", "theirs"), "to itself"),
        (("add", "head", "little", "none", "--run", "r", "--from", "theirs"), "No model is called"),
        (("add", "source", "x", "--hub", "no-owner"), "owner/name"),
        (("set", "little", "hidden_size", "012"), "expected a whole number"),
        (("set", "little", "hiden_size", "12"), "did you mean 'hidden_size'"),
        (("set", "little", "gated", "no"), "expected true or false"),
        (("set", "little", "parameters", "[&a 1, *a]"), "anchors are refused"),
        (("set", "nothing", "hub", "a/b"), "No entry of"),
        (("set", FIRST, "calibration.scale", "1"), "calibration.bias: missing"),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_what_would_not_load_is_refused(
    specreg: Run, own: Path, arguments: tuple[str, ...], said: str
) -> None:
    """
    The loader's own fault is told, and the file is as it was.
    """
    found = specreg("catalog", *arguments, "--file", str(own))

    assert found.code in (1, 2)
    assert said in found.err
    assert own.read_text() == CATALOG
    assert [path.name for path in own.parent.iterdir() if "draft" in path.name] == []


def test_the_built_in_catalog_is_never_edited(specreg: Run) -> None:
    """
    Not by its own name, and not by default.
    """
    from registry.catalog import builtin_catalog_path

    path = builtin_catalog_path()
    before = path.read_bytes()

    assert "is not edited" in specreg("catalog", "add", "source", "x", "--path", "y", "--file", str(path)).err
    assert specreg("catalog", "add", "source", "x", "--path", "y").code == 2
    assert path.read_bytes() == before


def test_the_last_of_the_users_catalogs_is_edited(
    specreg: Run, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Without --file it is the last of SPECREG_CATALOG, and what a catalog above it names is not taken away.
    """
    above = tmp_path / "above.yaml"
    above.write_text("version: 1\nheads:\n  - {source: little, target: large, run: r, from: theirs}\n")
    monkeypatch.setenv("SPECREG_CATALOG", os.pathsep.join([str(above), str(own)]))
    monkeypatch.setenv("SPECREG_CATALOG", os.pathsep.join([str(own), str(above)]))

    assert specreg("catalog", "add", "source", "x", "--path", "y").code == 0
    assert "x: {path: y}" in above.read_text()
    specreg("catalog", "remove", "head", FIRST, "--file", str(own))
    refused = specreg("catalog", "remove", "source", "theirs", "--file", str(own))

    assert refused.code == 2
    assert f"{above}:" in refused.err


@pytest.mark.parametrize(
    "bad",
    [
        "version: 1\nmodels: &a {}\nsources: *a\n",
        "version: 1\nversion: 1\n",
        "[]\n",
        "version: 1\nheads: {}\n",
    ],
)
def test_a_file_that_is_not_strict_is_not_edited(specreg: Run, own: Path, bad: str) -> None:
    """
    The strict reader sees the file first; what it refuses is told and left alone.
    """
    own.write_text(bad)

    assert specreg("catalog", "add", "source", "x", "--path", "y", "--file", str(own)).code == 2
    assert own.read_text() == bad


def test_permissions_and_links_stay(own: Path, tmp_path: Path) -> None:
    """
    The file behind a link is changed, the link stays one, and so do the file's permissions.
    """
    own.chmod(0o640)
    link = tmp_path / "elsewhere" / "link.yaml"
    link.parent.mkdir()
    link.symlink_to(own)

    edit_catalog(link, lambda draft: draft.add_heads([ITEM]))

    assert link.is_symlink()
    assert "middle--to--large/r" in {head.name for head in load_catalog(own).heads}
    assert stat.S_IMODE(own.stat().st_mode) == 0o640


def test_edits_at_the_same_time_lose_nothing(own: Path) -> None:
    """
    Eight processes add a model each: eight models are there.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "catalog", "add", "model", f"m{number}", "--file", str(own)],
            stdout=subprocess.DEVNULL,
        )
        for number in range(8)
    ]

    assert [process.wait(60) for process in processes] == [0] * 8
    assert {f"m{number}" for number in range(8)} <= load_catalog(own).models.keys()


def test_an_edit_under_way_is_waited_for(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An edit within an edit does not get in: after its patience it says so, and changes nothing.
    """
    monkeypatch.setattr(editing, "PATIENCE_S", 0.05)

    def change(draft: Draft) -> None:
        draft.add_heads([ITEM])
        with pytest.raises(UsageError, match="Another edit of"):
            edit_catalog(own, lambda inner: inner.remove_entry("models", "large"))

    edit_catalog(own, change)

    assert FIRST in Draft(own.read_text(), "f").head_names()


ENDLESS = """
import sys
from pathlib import Path
from registry.editing.edits import edit_catalog
file = Path(sys.argv[1])
print("ready", flush=True)
for number in range(100_000):
    edit_catalog(file, lambda draft: draft.add_entries("models", {f"k{sys.argv[2]}-{number}": {"hidden_size": 8}}))
"""


def test_an_editor_that_is_killed_leaves_a_sound_catalog(own: Path) -> None:
    """
    After each kill -9 in the midst of edits the file loads, all comments are there, and the next edit goes through.
    """
    for at in range(4):
        command = [sys.executable, "-c", ENDLESS, str(own), str(at)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(0.05 + 0.013 * at)
            child.kill()
        load_catalog(own)
        assert notes(own.read_text()) == notes(CATALOG)
        edit_catalog(own, lambda draft, at=at: draft.add_entries("models", {f"after-{at}": {}}))  # type: ignore[misc]

    assert {f"after-{at}" for at in range(4)} < load_catalog(own).models.keys()
    assert [path.name for path in own.parent.iterdir() if "draft" in path.name] == []


def test_a_full_disk_leaves_the_file(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    When the draft cannot be written, one sentence says so, and nothing lies beside the file.
    """

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        edit_catalog(own, lambda draft: draft.add_heads([ITEM]))

    assert own.read_text() == CATALOG
    assert [path.name for path in own.parent.iterdir() if "draft" in path.name] == []


def test_a_dry_run_writes_nothing(own: Path) -> None:
    """
    It gives the text that would be written.
    """
    text, _ = edit_catalog(own, lambda draft: draft.add_heads([ITEM]), dry_run=True)

    assert "{source: middle, target: large, run: r, from: theirs}" in text
    assert own.read_text() == CATALOG


def test_check_tells_every_fault_of_file_and_lock(specreg: Run, own: Path) -> None:
    """
    Sound is 0; faults are 1, each with line and path; no file at all is 2.
    """
    assert specreg("catalog", "check", str(own)).code == 0
    own.write_text(CATALOG.replace("hidden_size: 4", "hidden_size: no"))
    own.with_suffix(".lock").write_text("{}")

    found = specreg("catalog", "check", str(own), "--json")

    assert found.code == 1
    rows: list[dict[str, Any]] = json.loads(found.out)["faults"]
    assert [row["path"] for row in rows] == [
        "models.little.hidden_size",
        "models.middle.hidden_size",
        "",
    ]
    assert specreg("catalog", "check", str(own.with_name("none.yaml"))).code == 2


def test_a_file_written_like_json_is_edited(tmp_path: Path) -> None:
    """
    A catalog in brackets from end to end stays one.
    """
    file = tmp_path / "own.yaml"
    file.write_text('{"version": 1, "models": {"a": {}, "b": {}}, "sources": {"x": {"path": "y"}}}')

    edit_catalog(
        file, lambda draft: draft.add_heads([{"source": "a", "target": "b", "run": "r", "from": "x"}])
    )
    edit_catalog(file, lambda draft: draft.add_entries("tokenizers", {"t": {}}))

    assert file.read_text().count("\n") == 0
    assert "t" in load_catalog(file).tokenizers
    with pytest.raises(CatalogError, match="'a' is no model"):
        edit_catalog(file, lambda draft: draft.remove_entry("models", "a"))
