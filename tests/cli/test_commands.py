"""Every command has help and an example, and prints facts as text and as JSON."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from registry.cli.entry import COMMANDS
from registry.cli.entry import specreg as group
from registry.cli.list import short_count
from tests.conftest import Outcome

ROOT = Path(__file__).parent.parent.parent
Run = Callable[..., Outcome]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_an_example_and_stands_in_the_readme(specreg: Run, name: str) -> None:
    """
    Each command explains itself, ends with a line to copy, and is told of in the README.
    """
    found = specreg(name, "--help")

    assert found.code == 0
    assert found.out.strip().splitlines()[-1].strip().startswith(f"Example: specreg {name}")
    assert f"specreg {name}" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_prints_facts_takes_json(name: str) -> None:
    """
    All but `schema`, which prints JSON anyway, have the option; of a group, each of its commands has.
    """
    command = group.get_command(click.Context(group), name)

    assert command is not None
    assert command.name == name
    for one in leaves(command):
        assert one.name == "schema" or any("--json" in option.opts for option in one.params)


def leaves(command: click.Command) -> list[click.Command]:
    """The command itself, or of a group the commands in it, those of inner groups included."""
    if not isinstance(command, click.Group):
        return [command]
    return [leaf for inner in command.commands.values() for leaf in leaves(inner)]


def test_list_holds_fifteen_models_and_ten_published_heads(specreg: Run) -> None:
    """
    The published collection is whole, and the embedded family stands beside it.
    """
    document = json.loads(specreg("list", "--json").out)

    published = [row for row in document["models"] if row["hub"]]
    assert len(published) == 15
    assert len([row for row in document["heads"] if row["from"] == "specdecpp"]) == 10
    assert {row["model"] for row in document["models"] if row["installed"]} == {
        "pico-little",
        "pico-draft",
        "pico-target",
    }


def test_list_in_a_pipe_is_one_line_a_row(specreg: Run) -> None:
    """
    Rows come with tabs between, so that `cut` and `awk` read them.
    """
    lines = specreg("list", "--heads").out.splitlines()

    assert lines[0].split("\t") == ["head", "here", "recorded", "source"]
    assert len(lines) == 1 + 13


def test_show_tells_a_head_its_training_and_its_evaluation(specreg: Run) -> None:
    """
    Facts from trainer_state.json and evaluation.json, and every file with its digest.
    """
    document = json.loads(specreg("show", "pico-little--to--pico-draft", "--json").out)["heads"][0]

    assert document["mismatch_weight"] == 6
    assert document["layers"] == 3
    assert document["training"]["steps"] > 0
    assert document["training"]["final_eval_kl"] > 0
    assert document["evaluation"]["auc"] > 0.5
    assert {row["path"]: len(row["sha256"]) for row in document["files"]} == {
        "calibration.json": 64,
        "config.json": 64,
        "evaluation.json": 64,
        "model.safetensors": 64,
        "trainer_state.json": 64,
    }


def test_show_finds_a_model_by_any_of_its_names(specreg: Run) -> None:
    """
    Alias, Hub id and listed alias, in any case, are one model.
    """
    names = ["llama-2-chat-70b", "meta-llama/Llama-2-70b-chat-hf", "META-LLAMA/LLAMA-2-70B-CHAT-HF"]

    documents = [json.loads(specreg("show", name, "--json").out)["models"][0] for name in names]

    assert {document["model"] for document in documents} == {"llama-2-chat-70b"}


def test_show_refuses_an_unknown_run(specreg: Run) -> None:
    """
    A head that exists, with a run that does not, is a fault that names what there is.
    """
    found = specreg("show", "pico-little--to--pico-draft/exp-weight7-layer3")

    assert found.code == 1
    assert "exp-weight6-layer3" in found.err


def test_schema_is_a_json_schema(specreg: Run) -> None:
    """
    What `schema` prints says which draft it follows and which keys there are.
    """
    document = json.loads(specreg("schema").out)

    assert "json-schema.org/draft" in document["$schema"]
    assert {"version", "sources", "tokenizers", "models", "heads"} <= set(document["properties"])


def test_verify_finds_the_shipped_family_sound(specreg: Run) -> None:
    """
    Heads and models as shipped pass every check.
    """
    found = specreg("verify", "--models", "--json")

    document = json.loads(found.out)
    assert found.code == 0
    assert document["ok"] is True
    assert [head["head"] for head in document["heads"]] == [
        "pico-little--to--pico-draft/exp-weight6-layer3",
        "pico-draft--to--pico-target/exp-weight6-layer3",
        "pico-little--to--pico-target/exp-weight6-layer3",
    ]
    assert len(document["models"]) == 3


@pytest.fixture
def own_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of one shipped head in a folder of the user's, with a catalog and a lock of its own."""
    from registry.lock import Lock, lock_folder, write_lock

    head = "pico-little--to--pico-draft/exp-weight6-layer3"
    folder = tmp_path / "mine" / head
    shutil.copytree(ROOT / "heads" / "pico" / head, folder)
    (tmp_path / "catalog.yaml").write_text(
        "version: 1\nsources:\n  mine: {path: ./mine}\nheads:\n"
        "  - {source: pico-little, target: pico-draft, run: exp-weight6-layer3, from: mine}\n"
    )
    write_lock(Lock().with_head(head, lock_folder(folder)), tmp_path / "catalog.lock")
    monkeypatch.setenv("SPECREG_CATALOG", str(tmp_path / "catalog.yaml"))
    return folder


def shown(specreg: Run, run: str = "exp-weight6-layer3") -> tuple[dict[str, Any], list[str]]:
    """The head's document of `show --json`, which ends soundly, and the lines on stderr."""
    found = specreg("show", f"pico-little--to--pico-draft/{run}", "--json")
    assert found.code == 0
    document: dict[str, Any] = json.loads(found.out)["heads"][0]
    return document, found.err.splitlines()


def without_record(folder: Path) -> str:
    """Make it another run, which no lock knows; its name."""
    run, catalog = "exp-weight7-layer3", folder.parent.parent.parent / "catalog.yaml"
    folder.rename(folder.with_name(run))
    catalog.write_text(catalog.read_text().replace(folder.name, run))
    catalog.with_name("catalog.lock").unlink()
    return run


def record_anew(folder: Path) -> None:
    """Let the lock of that head hold what its folder holds now."""
    from registry.lock import Lock, lock_folder, write_lock

    entry = lock_folder(folder)
    write_lock(
        Lock().with_head(f"{folder.parent.name}/{folder.name}", entry),
        folder.parent.parent.parent / "catalog.lock",
    )


BROKEN = {
    "no JSON": b"{",
    "no object": b"[1]",
    "not UTF-8": b"\xff",
    "a figure of thousands of digits": b'{"auc": ' + b"9" * 5_000 + b"}",
    "nested too deeply": b'{"auc": ' + b"[" * 100_000,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("file", ["evaluation.json", "trainer_state.json"])
def test_show_does_without_an_optional_file_that_is_broken(
    specreg: Run, own_copy: Path, file: str, content: bytes
) -> None:
    """
    Recorded as it is, it still says nothing: a note tells, and all else is shown.
    """
    (own_copy / file).write_bytes(content)
    record_anew(own_copy)

    document, notes = shown(specreg)

    (note,) = notes
    assert note.startswith(f"specreg: {file} of pico-little--to--pico-draft/")
    assert document["training" if file == "trainer_state.json" else "evaluation"] is None
    assert document["training"] or document["evaluation"]
    assert len(document["files"]) == 5


@pytest.mark.parametrize("file", ["evaluation.json", "trainer_state.json"])
def test_show_believes_no_file_that_differs_from_its_record(specreg: Run, own_copy: Path, file: str) -> None:
    """
    Sound JSON, but not the bytes that were recorded: what the catalog says of the training stands.
    """
    catalog = own_copy.parent.parent.parent / "catalog.yaml"
    catalog.write_text(catalog.read_text().replace("from: mine}", "from: mine, training: {steps: 7}}"))
    (own_copy / file).write_text('{"global_step": 5, "auc": 1.0}')

    document, notes = shown(specreg)

    (note,) = notes
    assert "expected" in note
    if file == "trainer_state.json":
        assert document["training"] == {"steps": 7}
    else:
        assert document["evaluation"] is None


def test_show_prefers_the_catalog_to_a_file_without_record(specreg: Run, own_copy: Path) -> None:
    """
    A trainer_state.json that is recorded wins over the catalog; one that nothing vouches for does not.
    """
    catalog = own_copy.parent.parent.parent / "catalog.yaml"
    catalog.write_text(catalog.read_text().replace("from: mine}", "from: mine, training: {steps: 7}}"))
    recorded, _ = shown(specreg)

    unrecorded, notes = shown(specreg, without_record(own_copy))

    assert recorded["training"]["steps"] > 7
    assert unrecorded["training"] == {"steps": 7}
    assert notes == []


def test_show_reads_no_evaluation_past_its_bound(specreg: Run, own_copy: Path) -> None:
    """
    An evaluation is a page of figures; more under its name is not read.
    """
    (own_copy / "evaluation.json").write_bytes(b'{"auc": 1}' + b" " * (1 << 20))

    document, notes = shown(specreg, without_record(own_copy))

    assert document["evaluation"] is None
    assert "at most 1048576 are read" in notes[0]


def test_a_damaged_record_of_downloads_is_told_with_the_next_step(specreg: Run, own_home: Path) -> None:
    """
    It is no fault of a catalog; moved away, as the sentence says, everything works again.
    """
    record = own_home / "specreg" / "downloaded.lock"
    record.parent.mkdir(parents=True)
    record.write_text('{"x\n')

    found = specreg("list")

    assert found.code == 2
    assert found.err.startswith(
        f"specreg: {record}, the record of what was downloaded, cannot be used at line 1"
    )
    assert "Move it away and download again" in found.err
    assert "catalog" not in found.err
    record.rename(record.with_name("downloaded.lock.away"))
    assert specreg("list").code == 0
    assert specreg("store", "rebuild").code == 0


def test_a_damaged_lock_of_a_catalog_is_a_fault_of_that_catalog(specreg: Run, own_copy: Path) -> None:
    """
    It came with the catalog, and nobody is told to throw it away.
    """
    own_copy.parent.parent.parent.joinpath("catalog.lock").write_text('{"x\n')

    found = specreg("list")

    assert found.code == 2
    assert "1 fault in the catalog" in found.err
    assert "Move it away" not in found.err


def test_verify_ends_with_1_when_one_bit_is_off(specreg: Run, own_copy: Path) -> None:
    """
    A flipped bit in the weights is a fault of that file, told with both digests.
    """
    weights = own_copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    found = specreg("verify", "pico-little--to--pico-draft", "--json")

    files = {row["path"]: row for row in json.loads(found.out)["heads"][0]["files"]}
    assert found.code == 1
    assert files["model.safetensors"]["status"] == "changed"
    assert files["config.json"]["status"] == "ok"


def test_a_changed_head_never_decodes(specreg: Run, own_copy: Path) -> None:
    """
    `decode` refuses what `verify` refuses, before any text.
    """
    weights = own_copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    found = specreg("decode", "pico-little", "pico-draft", "--prompt", "x", "--max-new-tokens", "2")

    assert found.code == 1
    assert "model.safetensors" in found.err
    assert found.out == ""


def test_a_missing_catalog_is_could_not_look(specreg: Run) -> None:
    """
    A catalog that is not there ends with 2 and names the file.
    """
    found = specreg("list", "--catalog", "nowhere.yaml")

    assert found.code == 2
    assert "nowhere.yaml" in found.err


@pytest.mark.parametrize(
    ("number", "text"), [(596_049_920, "596M"), (14_768_307_200, "14.8B"), (900, "900"), (None, "")]
)
def test_counts_are_short(number: int | None, text: str) -> None:
    """
    Parameter counts read as people say them.
    """
    assert short_count(number) == text


@pytest.mark.parametrize("group", [(), ("catalog",), ("store",)], ids=["specreg", "catalog", "store"])
def test_no_command_is_told_in_half_a_sentence(specreg: Run, group: tuple[str, ...]) -> None:
    """
    In a list of commands each has a sentence that 80 columns have room for.
    """
    told = specreg(*group, "--help").out.partition("Commands:")[2].partition("Example:")[0]

    assert "..." not in told


def test_what_is_never_downloaded_is_not_counted(specreg: Run) -> None:
    """
    Heads that come with a package are named with their folders; no line says that nothing of them is here.
    """
    lines = specreg("download", "pico-little", "pico-target").out.splitlines()

    assert [line.endswith("nothing to download.") for line in lines] == [True, True]
