"""`specreg import`: entries for what a repository or a folder holds, and a word on what it does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.catalog import load_catalog
from registry.editing.collection import _sorted_out
from registry.editing.importing import plan_import
from registry.editing.importplan import Answer, Origin
from registry.files.folder import is_safe_name
from tests.catalogs.conftest import CATALOG, FIRST, REPO, SECOND
from tests.conftest import Outcome
from tests.hub.server import LocalHub, Refusal
from tests.registry.stored import write_head

Run = Callable[..., Outcome]
pytestmark = pytest.mark.usefixtures("hub")
PROGRAM = "from registry.cli import main; main()"
ODD = {
    "little--to--middle/no-config": "no config.json",
    "little--to--middle/no-weights": "no weights",
    "little--to--little/self": "to itself",
    "little--to--large/spoilt": "config.json: not JSON",
    "--to--/r": "a bad name",
    "a--TO--b/r": "a bad name",
    "little--to--middle": "right in it",
}


@pytest.fixture
def messy(hub: LocalHub) -> LocalHub:
    """The hub, its repository grown by everything that can be wrong with a folder."""
    head = hub.root / REPO / FIRST
    for folder in [*ODD, "elsewhere"]:
        for file in ("config.json", "model.safetensors"):
            hub.put(REPO, f"{folder}/{file}", (head / file).read_bytes())
    (hub.root / REPO / "little--to--middle/no-config/config.json").unlink()
    (hub.root / REPO / "little--to--middle/no-weights/model.safetensors").unlink()
    hub.put(REPO, "little--to--large/spoilt/config.json", b"{hidden_size: 4}")
    hub.put(REPO, f"{FIRST}/checkpoint-5/model.safetensors", b"deeper in")
    return hub


def imported(specreg: Run, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document of an import."""
    found = specreg("import", *arguments, "--json")
    return found.code, json.loads(found.out)


def test_a_repository_becomes_a_catalog_that_loads(specreg: Run, tmp_path: Path) -> None:
    """
    Every head becomes an entry, unknown models are marked with what the heads say, and the YAML can be used as it is.
    """
    found = specreg("import", REPO)

    assert found.code == 0
    (tmp_path / "new.yaml").write_text(found.out)
    catalog = load_catalog(tmp_path / "new.yaml")
    assert {FIRST, SECOND} <= {head.name for head in catalog.heads}
    assert catalog.sources["some-heads"].hub == REPO
    assert (catalog.models["little"].hidden_size, catalog.models["large"].hidden_size) == (4, None)
    assert found.out.count("# which model this is") == 3
    assert f"new\t{FIRST}\thidden size 4, 2 blocks" in found.err.splitlines()


def test_known_heads_are_told_from_new_ones(specreg: Run, own: Path) -> None:
    """
    Into a catalog that has one of two heads the other goes, under the source's own name, and comments stay.
    """
    code, document = imported(specreg, REPO, "--into", str(own))

    assert code == 0
    assert {head["head"]: head["status"] for head in document["heads"]} == {FIRST: "known", SECOND: "new"}
    line = "  - {source: middle, target: large, run: exp-weight6-layer2, from: theirs}\n"
    assert own.read_text() == CATALOG + line
    assert document["source"] == {"name": "theirs", "new": False, "hub": REPO}
    again = imported(specreg, REPO, "--into", str(own))[1]
    assert {head["status"] for head in again["heads"]} == {"known"}
    assert own.read_text() == CATALOG + line


def test_a_dry_run_writes_nothing(specreg: Run, own: Path, tmp_path: Path) -> None:
    """
    It shows the text, for a catalog that is there and for one that is not.
    """
    assert "middle, target: large" in specreg("import", REPO, "--into", str(own), "--dry-run").out
    assert specreg("import", REPO, "--into", str(tmp_path / "none.yaml"), "--dry-run").code == 0

    assert own.read_text() == CATALOG
    assert not (tmp_path / "none.yaml").exists()


def test_a_catalog_that_is_not_there_is_begun(specreg: Run, tmp_path: Path) -> None:
    """
    --into a new file makes it.
    """
    file = tmp_path / "new.yaml"

    assert (
        specreg("import", REPO, "--into", str(file), "--source-name", "theirs", "--revision", "main").code
        == 0
    )

    assert load_catalog(file).sources["theirs"].revision == "main"


def test_models_are_matched_by_any_of_their_names(specreg: Run, hub: LocalHub) -> None:
    """
    A folder named by a listed alias becomes an entry of the model's own alias, with the folder as its path.
    """
    name = "LLAMA2-7B-chat--to--Llama-2-70b-chat-hf/r"
    write_head(hub.root / REPO / name, config={"hidden_size": 4096, "num_layers": 2})

    _, document = imported(specreg, REPO)

    entry = (
        "{source: llama-2-7b-chat, target: llama-2-chat-70b, run: r, from: some-heads, path: " + name + "}"
    )
    assert entry in document["yaml"]
    assert {model["name"] for model in document["models"]} == {"little", "middle", "large"}


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("qwen3-0.6b--to--qwen3-14b/r", {"hidden_size": 4, "num_layers": 2}, "says 4, qwen3-0.6b has 1024"),
        ("little--to--large/layers-exp", {"hidden_size": 8, "num_layers": 2}, "do not agree: 4, 8"),
        (
            "little--to--large/exp-weight6-layer3",
            {"hidden_size": 4, "num_layers": 2},
            "says 2, the run's name 3",
        ),
        ("qwen3-0.6b--to--Qwen-3-0.6B/r", {"hidden_size": 1024, "num_layers": 2}, "are one model"),
    ],
    ids=["hidden-size", "disagree", "depth", "one-model"],
)
def test_a_head_that_does_not_fit_is_told_and_left_out(
    specreg: Run, hub: LocalHub, name: str, config: dict[str, int], said: str
) -> None:
    """
    What config.json says is held against the model and the run's name.
    """
    write_head(hub.root / REPO / name, config=config)

    code, document = imported(specreg, REPO)

    misfits = [head for head in document["heads"] if head["status"] == "misfit"]
    assert code == 1
    assert said in misfits[0]["detail"]
    assert name in {head["folder"] for head in misfits}
    assert f"run: {name.split('/')[1]}," not in document["yaml"]


@pytest.mark.usefixtures("messy")
def test_odd_folders_are_told_with_the_reason(specreg: Run) -> None:
    """
    Each is named with what it lacks, the sound heads are proposed all the same, and it ends with 1.
    """
    code, document = imported(specreg, REPO)

    told = {odd["folder"]: odd["reason"] for odd in document["odd"]}
    assert code == 1
    assert told.keys() == {*ODD, "elsewhere"}
    assert all(reason in told[folder] for folder, reason in ODD.items())
    assert {head["head"] for head in document["heads"]} == {FIRST, SECOND}


def test_a_head_of_a_name_that_is_taken_is_not_proposed(specreg: Run, hub: LocalHub, own: Path) -> None:
    """
    The catalog's own head of that name stays what it is.
    """
    shutil.copytree(hub.root / REPO, hub.root / "other" / "fork")

    document = imported(specreg, "other/fork", "--into", str(own))[1]

    assert {head["head"]: head["status"] for head in document["heads"]} == {FIRST: "taken", SECOND: "new"}
    assert document["source"]["name"] == "fork"


def test_a_folder_is_imported_like_a_repository(specreg: Run, hub: LocalHub, tmp_path: Path) -> None:
    """
    Its path stands in the catalog relative to that; a folder that is not below it cannot be named.
    """
    folder = tmp_path / "mine" / "heads"
    shutil.copytree(hub.root / REPO, folder)

    assert specreg("import", str(folder), "--into", str(tmp_path / "new.yaml")).code == 0
    assert load_catalog(tmp_path / "new.yaml").sources["heads"].path == "mine/heads"
    assert specreg("lock", str(tmp_path / "new.yaml"), "--local").code == 0
    (tmp_path / "beside").mkdir()
    assert (
        "does not lie below" in specreg("import", str(folder), "--into", str(tmp_path / "beside/x.yaml")).err
    )


def test_what_the_training_left_is_taken_when_asked_for(specreg: Run, hub: LocalHub) -> None:
    """
    --training puts steps and losses of trainer_state.json into the entry.
    """
    state = {"global_step": 7, "log_history": [{"step": 7, "loss": 0.5}]}
    hub.put(REPO, f"{FIRST}/trainer_state.json", json.dumps(state).encode())

    assert "training: {steps: 7, final_loss: 0.5}" in imported(specreg, REPO, "--training")[1]["yaml"]
    assert "training" not in imported(specreg, REPO)[1]["yaml"]


def test_what_is_answered_becomes_the_model(hub: LocalHub) -> None:
    """
    A Hub id that a catalog knows is that model; one that it does not know is a new one; no answer leaves a mark.
    """
    from registry.editing.collection import folder_collection

    answers = {"middle": Answer(hub="Qwen/Qwen3-1.7B"), "large": Answer(hub="org/large", hidden_size=9)}
    asked: list[tuple[str, int | None]] = []

    def ask(name: str, hidden_size: int | None, _near: tuple[str, ...]) -> Answer | None:
        asked.append((name, hidden_size))
        return answers.get(name)

    origin = Origin(where=REPO, place={"hub": REPO})
    plan = plan_import(folder_collection(hub.root / REPO), origin, load_catalog(), ask=ask)

    assert asked == [("little", 4), ("middle", 4), ("large", None)]
    assert {head.name: head.status for head in plan.heads} == {
        "little--to--qwen3-1.7b/exp-weight6-layer2": "new",
        "qwen3-1.7b--to--large/exp-weight6-layer2": "misfit",
    }
    assert {model.name: dict(model.values) for model in plan.models} == {"little": {"hidden_size": 4}}
    assert plan.models[0].marked


@pytest.mark.parametrize(
    ("refusal", "arguments", "said"),
    [
        (Refusal(status=404, code="RepoNotFound"), (REPO,), "shows no repository"),
        (Refusal(status=403, code="GatedRepo"), (REPO,), "gated"),
        (None, ("someone/none",), "shows no repository"),
        (None, (REPO, "--revision", "none"), "no revision none"),
        (None, (REPO, "--revision", "../main"), "is no revision"),
        (None, ("../up",), "no Hub repository"),
        (None, (REPO, "--source-name", "specdecpp"), "another place already"),
        (None, (REPO, "--source-name", "../x"), "cannot name a source"),
    ],
)
def test_what_cannot_be_looked_at_ends_with_2(
    specreg: Run, hub: LocalHub, refusal: Refusal | None, arguments: tuple[str, ...], said: str
) -> None:
    """
    One sentence, and no YAML.
    """
    hub.faults.refusals = [refusal] if refusal else []

    found = specreg("import", *arguments)

    assert (found.code, found.out) == (2, "")
    assert said in found.err


def test_pages_of_a_long_listing_are_followed(specreg: Run, hub: LocalHub) -> None:
    """
    The listing of the whole repository may come in many pages.
    """
    hub.faults.page = 2

    assert len(imported(specreg, REPO)[1]["heads"]) == 2


def test_a_config_that_came_wrong_is_not_believed(specreg: Run, hub: LocalHub) -> None:
    """
    Bytes that are not those of the listing make the head odd.
    """
    hub.faults.body = lambda path, content: (
        content.replace(b"4", b"8") if path.endswith("config.json") else content
    )

    code, document = imported(specreg, REPO)

    assert (code, document["heads"]) == (1, [])
    assert all("expected git's sha1" in odd["reason"] for odd in document["odd"])


PARTS = st.sampled_from(
    [
        "..",
        ".",
        "",
        "a--to--b",
        "r",
        "config.json",
        "model.safetensors",
        "\\",
        "C:",
        "\0",
        " ",
        "x\n",
        "--to--",
    ]
)


@settings(max_examples=300)
@given(names=st.lists(st.lists(PARTS, min_size=1, max_size=4).map("/".join), max_size=6, unique=True))
def test_no_listing_leads_out_of_its_folder(names: list[str]) -> None:
    """
    Whatever names are listed, a head's folder and the names of its files stay inside.
    """
    heads, odd = _sorted_out(names)

    assert all(is_safe_name(f"{head.folder}/{file}") for head in heads for file in head.files)
    assert all(one.folder.isprintable() for one in odd)


def test_on_a_terminal_it_asks(hub: LocalHub, tmp_path: Path) -> None:
    """
    A person at a terminal is asked about each unknown model, again where the answer can be none; what they answer
    stands in the catalog.
    """
    shutil.rmtree(hub.root / REPO / SECOND)
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", PROGRAM, "import", REPO, "--into", str(tmp_path / "new.yaml")]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, b"little\norg/little\norg/middle\n9\n")

    assert process.wait(60) == 0
    os.close(ours)
    models = load_catalog(tmp_path / "new.yaml").models
    assert (models["little"].hub, models["little"].hidden_size) == ("org/little", 4)
    assert (models["middle"].hub, models["middle"].hidden_size) == ("org/middle", 9)
