"""`specreg verify --repair`: what is bad comes again, what stays bad goes, and nothing else is touched."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from registry.catalog import parse_catalog
from registry.hub.repair import RepairReport, repair
from registry.lock import Lock, lock_folder
from registry.shelf import Shelf
from tests.hub.conftest import EDGE, REPO, Machine
from tests.registry.stored import write_head
from tests.verify.conftest import WEIGHTS, Command, served, spoil


def mend(machine: Machine) -> RepairReport:
    """Repair the machine's first head."""
    return repair(machine.shelf, [machine.head()], endpoint=machine.hub.endpoint, bars=False, timeout_s=30.0)


def blobs_of(machine: Machine) -> dict[str, bytes]:
    """Every blob of the heads' repository and its bytes."""
    folder = machine.cache / "models--org--heads" / "blobs"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_sound_is_left_alone(installed: Machine) -> None:
    """
    Where nothing is at fault nothing is fetched, and no request is made.
    """
    installed.hub.requests.clear()

    report = mend(installed)

    assert report.ok
    assert report.repairs == ()
    assert installed.hub.requests == []


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_a_flipped_bit_is_fetched_away(installed: Machine, name: str) -> None:
    """
    A blob with one bit changed is fetched again; the report tells how it was and how it is.
    """
    blob = spoil(installed, name)

    report = mend(installed)

    assert report.ok
    assert not report.heads_before[0].ok
    (done,) = report.repairs
    assert done.repaired
    assert done.detail == f"fetched again: {name}"
    assert name in done.before[0]
    assert done.after == ()
    assert blob.read_bytes() == served(installed, name)


@pytest.mark.parametrize("gone", ["link", "blob"])
def test_what_is_missing_is_fetched(installed: Machine, gone: str) -> None:
    """
    A file whose link or whose blob was deleted comes back.
    """
    link = installed.snapshot / WEIGHTS
    (link if gone == "link" else link.resolve()).unlink()

    assert mend(installed).ok
    assert link.read_bytes() == served(installed)


def test_what_was_published_damaged_is_not_fetched_again(machine: Machine) -> None:
    """
    The same would come again, which is said, with the command that tells whether the hub holds others by now.
    """
    (machine.hub.root / REPO / EDGE / WEIGHTS).write_bytes(b"hello")
    machine.download()
    machine.hub.requests.clear()

    (done,) = mend(machine).repairs

    assert not done.repaired
    assert "the same would come again: `specreg discover published` tells" in done.detail
    assert machine.hub.requests == []


def test_what_the_hub_has_no_more_is_told_with_what_it_has(installed: Machine) -> None:
    """
    Where its history was rewritten the recorded commit is gone, and the way to other bytes is named.
    """
    spoil(installed)
    installed.hub.put(REPO, f"{EDGE}/README.md", b"# other\n")

    (done,) = mend(installed).repairs

    assert not done.repaired
    assert "has no revision" in done.detail
    assert "`specreg discover` tells" in done.detail


def test_a_blob_that_stays_bad_is_deleted(installed: Machine) -> None:
    """
    When the hub's answer is bad too, the bad blob goes and the sound one stays.
    """
    blob = spoil(installed)
    sound = {name: content for name, content in blobs_of(installed).items() if name != blob.name}
    installed.hub.faults.body = lambda path, content: (
        content[:-1] + bytes([content[-1] ^ 2]) if path.endswith(WEIGHTS) else content
    )

    report = mend(installed)

    assert not report.ok
    assert not report.repairs[0].repaired
    assert "differs from" in report.repairs[0].detail
    assert report.error is None
    assert blobs_of(installed) == sound


def test_a_sound_blob_of_another_record_is_kept(installed: Machine) -> None:
    """
    A blob that is true to its name is not deleted, though a record wants other bytes.
    """
    entry = lock_folder(installed.snapshot, commit=installed.hub.commit(REPO))
    other = entry.files[WEIGHTS].model_copy(update={"sha256": "0" * 64})
    files = {**entry.files, WEIGHTS: other}
    installed.lock = Lock(heads={EDGE: entry.model_copy(update={"files": files})})
    before = blobs_of(installed)

    report = mend(installed)

    assert not report.ok
    assert blobs_of(installed) == before


def test_a_file_that_does_not_belong_there_is_not_deleted(installed: Machine) -> None:
    """
    An extra file is told with what to do by hand; it may be the user's.
    """
    extra = installed.snapshot / "extra.safetensors"
    extra.write_bytes(b"mine")

    report = mend(installed)

    assert not report.ok
    assert "remove extra.safetensors in" in report.repairs[0].detail
    assert extra.read_bytes() == b"mine"


@pytest.mark.parametrize("kind", ["folder", "package"])
def test_what_is_not_the_hubs_is_not_touched(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Of a folder or a package nothing is written or deleted; the report says what the user can do.
    """
    place = tmp_path / "owned"
    folder = write_head(place / "heads" / "a--to--b" / "run")
    (place / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    source = "{path: ./owned/heads}" if kind == "folder" else "{package: owned, path: heads}"
    text = (
        f"version: 1\nsources: {{mine: {source}}}\nmodels: {{a: {{}}, b: {{}}}}\n"
        "heads: [{source: a, target: b, run: run, from: mine}]\n"
    )
    catalog = parse_catalog(text, file="catalog.yaml", base=tmp_path)
    lock = Lock(heads={EDGE: lock_folder(folder)})
    (folder / WEIGHTS).write_bytes(b"spoilt")

    report = repair(Shelf(catalog, lock), catalog.heads)

    assert not report.ok
    expected = "specreg lock" if kind == "folder" else "install that again"
    assert expected in report.repairs[0].detail
    assert (folder / WEIGHTS).read_bytes() == b"spoilt"


def test_the_command_tells_before_and_after(installed: Machine, command: Command) -> None:
    """
    The JSON document is the report as it is now, with what was repaired and how it was before.
    """
    spoil(installed)

    ended = command("verify", EDGE, "--repair", "--json")

    document = json.loads(ended.stdout)
    assert ended.returncode == 0, ended.stderr
    assert document["ok"] is True
    assert document["before"]["ok"] is False
    assert [(done["name"], done["repaired"]) for done in document["repaired"]] == [(EDGE, True)]


def test_offline_the_report_is_there(installed: Machine, command: Command) -> None:
    """
    The fault is told, then why it could not be mended; the bad blob stays and the command ends with 2.
    """
    blob = spoil(installed)
    before = blob.read_bytes()

    ended = command("verify", EDGE, "--repair", HF_HUB_OFFLINE="1")

    assert ended.returncode == 2
    assert f"{WEIGHTS}\tchanged" in ended.stdout
    assert "not repaired" in ended.stdout
    assert ended.stderr.startswith("specreg: ")
    assert "HF_HUB_OFFLINE" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert blob.read_bytes() == before


def test_without_a_network_nothing_is_deleted(installed: Machine) -> None:
    """
    A hub that cannot be reached is the report's error, and the bad blob stays where it is.
    """
    blob = spoil(installed)
    before = blob.read_bytes()

    report = repair(
        installed.shelf, [installed.head()], endpoint="http://127.0.0.1:9", bars=False, timeout_s=5.0
    )

    assert report.error is not None
    assert report.error.reason == "unreachable"
    assert not report.repairs[0].repaired
    assert "Nothing was deleted" in report.repairs[0].detail
    assert blob.read_bytes() == before


def test_a_kill_leaves_nothing_half_written(installed: Machine, catalog: Path) -> None:
    """
    Killed while a file comes, a repair leaves what was there; the next one mends it.
    """
    blob = spoil(installed)
    before = blobs_of(installed)
    installed.hub.faults.stalled = f"/cdn/{REPO}/{EDGE}/{WEIGHTS}"
    installed.hub.requests.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", installed.hub.endpoint)
        process = subprocess.Popen(
            [sys.executable, "-m", "registry", "verify", EDGE, "--repair", "--catalog", str(catalog)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    deadline = time.monotonic() + 30
    while not any("/cdn/" in request for request in installed.hub.requests):
        assert time.monotonic() < deadline, "the file was never asked for"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    installed.hub.faults.stalled = ""
    installed.hub.released.set()

    kept = {name: content for name, content in blobs_of(installed).items() if "incomplete" not in name}
    assert kept == before
    assert mend(installed).ok
    assert blob.read_bytes() == served(installed)


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on a file's size here")
def test_a_full_disk_is_told(installed: Machine, command: Command, tmp_path: Path) -> None:
    """
    When the bytes find no room the command says so and ends with 2, and no file is half of anything.
    """
    blob = spoil(installed)
    before = blobs_of(installed)
    (tmp_path / "sitecustomize.py").write_text(
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))\n"
    )

    ended = command("verify", EDGE, "--repair", "--timeout", "5", PYTHONPATH=str(tmp_path))

    assert ended.returncode == 2, ended.stderr
    assert "could not be written" in ended.stderr
    assert f"{WEIGHTS}\tchanged" in ended.stdout
    kept = {name: content for name, content in blobs_of(installed).items() if "incomplete" not in name}
    assert kept == before
    assert mend(installed).ok
    assert blob.read_bytes() == served(installed)
