"""`specreg download` from the outside, as its own process with the client untouched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from registry.cli.download import download
from tests.hub.conftest import CATALOG, EDGE, REPO, Machine
from tests.hub.server import LocalHub, Refusal

PROGRAM = "from registry.cli import main; main()"


def run(machine: Machine, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command against the machine's hub."""
    (machine.folder / "catalog.yaml").write_text(CATALOG)
    whole = {
        **os.environ,
        "HF_ENDPOINT": machine.hub.endpoint,
        "SPECREG_CATALOG": str(machine.folder / "catalog.yaml"),
        **environ,
    }
    command = [sys.executable, "-c", PROGRAM, "download", *arguments]
    return subprocess.run(command, env=whole, capture_output=True, text=True, check=False, timeout=900)


def test_the_heads_of_a_chain_are_downloaded(machine: Machine, hub: LocalHub) -> None:
    """
    SOURCE and TARGET bring the heads of the chain between them; a second time nothing is asked.
    """
    first = run(machine, "a", "b")

    assert (first.returncode, first.stderr) == (0, "")
    size = (hub.root / REPO / EDGE / "model.safetensors").stat().st_size
    assert f"fetched\t{EDGE}/model.safetensors\t{size} bytes" in first.stdout.splitlines()
    assert f"commit {hub.commit(REPO)}" in first.stdout

    hub.requests.clear()
    second = run(machine, EDGE, "--json")
    assert hub.requests == []
    document = json.loads(second.stdout)
    assert (document["bytes"], document["dry_run"]) == (0, False)
    assert [file["status"] for file in document["heads"][0]["files"]] == ["here", "here"]


def test_a_refusal_is_one_sentence_and_exit_2(machine: Machine, hub: LocalHub) -> None:
    """
    No traceback, no token, and nothing of the client's own warnings.
    """
    hub.faults.refusals = [Refusal(status=403, code="GatedRepo")]

    outcome = run(machine, "a", "b", HF_TOKEN="hf_" + "x" * 30)

    assert outcome.returncode == 2
    assert outcome.stderr.startswith("specreg: org/heads is gated. Ask for access at ")
    assert len(outcome.stderr.splitlines()) == 1
    assert "hf_x" not in outcome.stderr + outcome.stdout


def test_two_processes_lose_no_record(machine: Machine) -> None:
    """
    Two downloads at once both end up in the record.
    """
    from concurrent.futures import ThreadPoolExecutor

    from registry.home import downloaded_lock_path
    from registry.lock import read_lock

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda name: run(machine, name), [EDGE, "b--to--c"]))

    assert [outcome.stderr for outcome in outcomes] == ["", ""]
    assert set(read_lock(downloaded_lock_path()).heads) == {EDGE, "b--to--c/pickled"}


def test_planning_loads_no_network_library() -> None:
    """
    What lists and chains needs is there without the Hub's client.
    """
    program = (
        "import sys, registry.download, registry.cli.download; "
        "print([n for n in ('huggingface_hub', 'platformdirs', 'httpx', 'torch') if n in sys.modules])"
    )
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert outcome.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [["a"], ["a", "b", "c"], [EDGE, "b"], [EDGE, "--run", "x"], []],
    ids=["one-model", "three-models", "mixed", "narrowed-head", "nothing"],
)
def test_names_that_make_no_request_are_wrong_usage(arguments: list[str], tmp_path: Path) -> None:
    """
    Two models, or heads: anything else is said to be wrong.
    """
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(CATALOG)

    outcome = CliRunner().invoke(download, [*arguments, "--catalog", str(catalog)])

    assert outcome.exit_code == 2


def test_the_help_ends_with_an_example() -> None:
    """
    Each help text ends with a line that can be run.
    """
    outcome = CliRunner().invoke(download, ["--help"])

    assert outcome.output.rstrip().splitlines()[-1].strip().startswith("Example: specreg download ")
