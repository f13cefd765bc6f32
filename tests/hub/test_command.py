"""`specreg download` from the outside, as its own process with the client untouched."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from registry.catalog import load_catalog
from registry.cli.download import download
from registry.errors import HubError
from registry.home import downloaded_lock_path
from registry.lock import Lock, lock_folder, write_lock
from tests.hub.conftest import CATALOG, EDGE, REPO, Machine
from tests.hub.server import LocalHub, Refusal
from tests.registry.stored import write_head

PROGRAM = (  # a background job is born deaf to interrupts
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from registry.cli import main; main()"
)
TOKEN = "hf_" + "secret" * 6


def command(machine: Machine, *arguments: str, **environ: str) -> tuple[list[str], dict[str, str]]:
    """The command against the machine's hub, and its environment."""
    (machine.folder / "catalog.yaml").write_text(CATALOG)
    whole = {
        **os.environ,
        "HF_ENDPOINT": machine.hub.endpoint,
        "SPECREG_CATALOG": str(machine.folder / "catalog.yaml"),
        **environ,
    }
    return [sys.executable, "-c", PROGRAM, *arguments], whole


def run(machine: Machine, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `specreg download`."""
    program, whole = command(machine, "download", *arguments, **environ)
    return subprocess.run(program, env=whole, capture_output=True, text=True, check=False, timeout=900)


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


def test_a_download_without_a_lock_entry_says_so(machine: Machine) -> None:
    """
    Whoever downloads what no lock knows reads what it was checked against, and where it is recorded now.
    """
    record = str(downloaded_lock_path())
    dry, first, second = run(machine, EDGE, "--dry-run"), run(machine, EDGE), run(machine, EDGE)

    checked = "checked against the Hub's own digests"
    assert f"{EDGE}: no entry in catalog.lock: it would be {checked}, and recorded in {record}." in dry.stdout
    assert (
        f"{EDGE}: no entry in catalog.lock: it was {checked}, and is now recorded in {record}."
        in first.stdout
    )
    assert f"{EDGE}: checked against {record}, which was made from the Hub's own digests." in second.stdout


def test_a_locked_download_says_nothing_of_the_hubs_digests(machine: Machine, hub: LocalHub) -> None:
    """
    What a lock beside the catalog knows is checked against that, and the document says so.
    """
    entry = lock_folder(hub.root / REPO / EDGE, commit=hub.commit(REPO))
    write_lock(Lock().with_head(EDGE, entry), machine.folder / "catalog.lock")

    plain, told = run(machine, EDGE), json.loads(run(machine, EDGE, "--json").stdout)["heads"][0]

    assert "digests" not in plain.stdout
    assert (told["checked_against"], told["recorded_in"]) == ("lock", None)


def test_a_pickled_head_is_told_how_to_be_converted(machine: Machine) -> None:
    """
    The next step after a pickle stands beside it.
    """
    outcome = run(machine, "b--to--c/pickled")

    assert "its weights are a pickle" in outcome.stdout
    assert "`specreg convert b--to--c/pickled`" in outcome.stdout


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


def test_every_head_of_the_catalog_is_downloaded(machine: Machine, hub: LocalHub) -> None:
    """
    `--all` brings what the Hub holds, side by side, and tells of what is shipped that it is here.
    """
    builtin = [head for head in load_catalog().heads if head.from_ == "specdecpp"]
    for head in builtin:
        write_head(hub.root / "ArcticHuaji" / "specdecpp-acc-heads" / head.folder)

    outcome = run(machine, "--all", "--json")

    heads = json.loads(outcome.stdout)["heads"]
    assert {head["name"] for head in heads if head["source"] == "hub"} == {
        *(head.name for head in (*builtin, *machine.catalog.heads)),
    }
    assert {head["source"] for head in heads if head["name"].startswith("pico")} == {"package"}
    assert all(file["status"] == "fetched" for head in heads for file in head["files"])


def test_bars_are_drawn_on_a_terminal(machine: Machine, hub: LocalHub) -> None:
    """
    People see a bar for each file that is coming, and at the end what was done.
    """
    hub.put(REPO, f"{EDGE}/model.safetensors", bytes(range(256)) * 4_000)
    hub.faults.pace_s = 0.05
    program, whole = command(machine, "download", EDGE, TERM="xterm", COLUMNS="120")
    mine, its = pty.openpty()
    with subprocess.Popen(program, env=whole, stdin=its, stdout=its, stderr=its):
        os.close(its)
        shown = b""
        with suppress(OSError):  # how a terminal ends
            while piece := os.read(mine, 4_096):
                shown += piece
    os.close(mine)

    assert f"{EDGE}/model.safetensors".encode() in shown
    assert b"MB" in shown
    assert b"2 files fetched, " in shown
    assert b"Traceback" not in shown


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_what_was_broken_off_is_gone_on_with(
    machine: Machine, hub: LocalHub, sign: signal.Signals, code: int
) -> None:
    """
    Killed or interrupted, the next download asks for the rest alone, and leaves nothing lying about.
    """
    content = bytes(range(256)) * 20_000
    hub.put(REPO, f"{EDGE}/model.safetensors", content)
    hub.faults.pace_s = 0.02
    program, whole = command(machine, "download", EDGE)
    with subprocess.Popen(program, env=whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        name = hashlib.sha256(b"model.safetensors").hexdigest()[:8]
        while not any(
            path.stat().st_size for path in machine.cache.glob(f"models--*/.specreg-*/{name}/leftover")
        ):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(sign)
        process.communicate()
    assert process.returncode == code
    assert not machine.snapshot.exists()

    hub.faults.pace_s = 0.0
    machine.download()

    begun = [int(span.removeprefix("bytes=").rstrip("-")) for span in hub.ranges]
    assert len(begun) == 1
    assert 0 < begun[0] < len(content)
    assert (machine.snapshot / "model.safetensors").read_bytes() == content
    assert not list((machine.cache / "models--org--heads").glob(".specreg*"))


@pytest.mark.parametrize("where", ["/revision/", "/cdn/"])
def test_an_interrupt_does_not_wait_for_a_stalled_hub(machine: Machine, hub: LocalHub, where: str) -> None:
    """
    Who interrupts gets the prompt back at once, though the Hub says nothing.
    """
    hub.faults.stalled = where
    program, whole = command(machine, "download", EDGE)
    with subprocess.Popen(program, env=whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not any(where in request for request in hub.requests):
            assert process.poll() is None
            time.sleep(0.01)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()

    assert process.returncode == 130
    assert errors.strip().startswith(b"specreg: Interrupted. What was finished is kept")
    assert time.monotonic() - begun < 10  # stalled it is for twice as long


@pytest.mark.parametrize("size", [5_000, 102_400, 1_000_000], ids=["shorter", "as-long", "longer"])
def test_a_leftover_of_other_bytes_is_found_out(machine: Machine, hub: LocalHub, size: int) -> None:
    """
    Whatever lies there from an earlier transfer, the whole is hashed, and fetched anew if need be.
    """
    content = bytes(range(256)) * 400
    hub.put(REPO, f"{EDGE}/model.safetensors", content)
    machine.download()
    (machine.snapshot / "model.safetensors").resolve().unlink()
    staging = next((machine.cache / ".locks").rglob("specreg-*")).stem
    name = hashlib.sha256(b"model.safetensors").hexdigest()[:8]
    into = machine.cache / "models--org--heads" / f".{staging}" / name
    into.mkdir(parents=True)
    (into / "leftover").write_bytes(b"?" * size)

    machine.download()

    assert hub.ranges == ([f"bytes={size}-"] if size < len(content) else [])
    assert (machine.snapshot / "model.safetensors").read_bytes() == content
    assert not into.parent.exists()


def test_a_full_disk_is_said(machine: Machine, hub: LocalHub) -> None:
    """
    Where no more bytes can be written, that is the reason given, and nothing is installed.
    """
    hub.put(REPO, f"{EDGE}/model.safetensors", bytes(range(256)) * 4_000)

    told = machine.crowd("crowd", children=1, limit_bytes=200_000)

    assert told["codes"] == [1]
    assert re.search("could not be written to the Hub's cache: File too large", " ".join(told["errors"]))
    assert not machine.snapshot.exists()


def test_a_disk_that_is_too_small_is_said_before(
    machine: Machine, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Nothing is fetched that there is no room for.
    """
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))

    with pytest.raises(HubError, match="it needs 715 bytes, and 10 are free"):
        machine.download()

    assert not [request for request in hub.requests if request.startswith("GET /cdn/")]


@pytest.mark.parametrize("refusals", [[], [Refusal(status=401)]], ids=["taken", "refused"])
def test_a_token_is_left_nowhere(machine: Machine, hub: LocalHub, refusals: list[Refusal]) -> None:
    """
    Neither what is printed, tracebacks included, nor any file that is written holds it.
    """
    hub.faults.refusals = refusals

    outcome = run(machine, EDGE, "--debug", HF_TOKEN=TOKEN, HF_DEBUG="1", HF_HUB_VERBOSITY="debug")

    assert {f"Bearer {TOKEN}", None} >= {token for _, token in hub.tokens} >= {f"Bearer {TOKEN}"}
    assert ("Traceback" in outcome.stderr) == bool(refusals)
    assert TOKEN not in outcome.stdout + outcome.stderr
    for path in machine.folder.rglob("*"):
        assert TOKEN not in str(path)
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


def test_planning_loads_no_network_library() -> None:
    """
    What lists and chains needs is there without the Hub's client.
    """
    program = (
        "import sys, registry.hub.download, registry.cli.download; "
        "print([n for n in ('huggingface_hub', 'platformdirs', 'httpx', 'torch') if n in sys.modules])"
    )
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert outcome.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [["a"], ["a", "b", "c"], [EDGE, "b"], [EDGE, "--run", "x"], [], ["--all", EDGE], ["--all", "--run", "x"]],
    ids=["one-model", "three-models", "mixed", "narrowed-head", "nothing", "all-and-one", "narrowed-all"],
)
def test_names_that_make_no_request_are_wrong_usage(arguments: list[str], tmp_path: Path) -> None:
    """
    Two models, or heads: anything else is said to be wrong.
    """
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(CATALOG)

    outcome = CliRunner().invoke(download, [*arguments, "--catalog", str(catalog)])

    assert outcome.exit_code == 2


def test_one_model_alone_is_told_how(tmp_path: Path) -> None:
    """
    A model that is named alone has no heads to bring; the command that brings itself is told as it runs.
    """
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(CATALOG)

    outcome = CliRunner().invoke(download, ["a", "--catalog", str(catalog)])

    assert f"`specreg download a --models --catalog {catalog}`" in outcome.output


def test_the_help_ends_with_an_example() -> None:
    """
    Each help text ends with a line that can be run.
    """
    outcome = CliRunner().invoke(download, ["--help"])

    assert outcome.output.rstrip().splitlines()[-1].strip().startswith("Example: specreg download ")
