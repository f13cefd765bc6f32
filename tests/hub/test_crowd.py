"""Many at once: processes that want the same head, and heads that come side by side."""

from __future__ import annotations

import fcntl
import threading
import time
from pathlib import Path

import pytest

from registry.errors import CheckpointError, HubError
from registry.home import downloaded_lock_path
from registry.hub.download import download
from registry.lock import read_lock
from tests.hub.conftest import EDGE, REPO, Machine
from tests.hub.server import LocalHub, Refusal

WEIGHTS = "model.safetensors"


def gets_of(hub: LocalHub, name: str) -> int:
    """How often the bytes of a file were asked for."""
    return sum(request.startswith("GET ") and request.endswith(name) for request in hub.requests)


def test_ten_processes_fetch_a_head_once(machine: Machine, hub: LocalHub) -> None:
    """
    One transfers, ten succeed, and the record is whole.
    """
    hub.put(REPO, f"{EDGE}/{WEIGHTS}", bytes(range(256)) * 4_000)
    hub.faults.pace_s = 0.01

    told = machine.crowd("crowd", children=10)

    assert (told["codes"], told["errors"]) == ([0] * 10, [])
    assert gets_of(hub, WEIGHTS) == 1
    assert set(read_lock(downloaded_lock_path()).heads) == {head.name for head in machine.catalog.heads}


def test_heads_come_side_by_side(machine: Machine, hub: LocalHub) -> None:
    """
    Two heads whose bytes come slowly take the time of one.
    """
    for path in (f"{EDGE}/{WEIGHTS}", "b--to--c/pickled/pytorch_model.bin"):
        hub.put(REPO, path, path.encode() * 20_000)
    hub.faults.pace_s = 0.05
    most = [0]

    def watch() -> None:
        while not done.wait(0.02):
            begun = list(machine.cache.glob("models--*/.specreg-*/*/leftover"))
            most[0] = max(most[0], len({path.parents[1] for path in begun}))

    done = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        report = download(machine.shelf, machine.catalog.heads, endpoint=hub.endpoint, bars=False)
    finally:
        done.set()
        watcher.join()

    assert len(report.heads) == 2
    assert most[0] >= 2


def test_one_repository_is_asked_once_for_its_branch(machine: Machine, hub: LocalHub) -> None:
    """
    All heads of a download are of one commit.
    """
    download(machine.shelf, machine.catalog.heads, endpoint=hub.endpoint, bars=False)

    assert sum("/revision/" in request for request in hub.requests) == 1


def test_a_head_that_fails_does_not_hold_up_the_others(machine: Machine, hub: LocalHub) -> None:
    """
    The others are installed, and the error names what is not.
    """
    hub.faults.body = lambda path, content: content[:-1] + b"?" if path.endswith(WEIGHTS) else content

    with pytest.raises(CheckpointError, match=f"{WEIGHTS} of {EDGE} differs"):
        download(machine.shelf, machine.catalog.heads, endpoint=hub.endpoint, bars=False)

    assert set(read_lock(downloaded_lock_path()).heads) == {"b--to--c/pickled"}


def test_all_that_failed_is_named(machine: Machine, hub: LocalHub) -> None:
    """
    One sentence tells of the first, and names the rest.
    """
    hub.faults.refusals = [Refusal(status=404, where="/tree/", code="EntryNotFound")]

    with pytest.raises(HubError, match="Not downloaded either: b--to--c/pickled"):
        download(machine.shelf, machine.catalog.heads, endpoint=hub.endpoint, bars=False)


def lock_of(machine: Machine, hub: LocalHub) -> Path:
    """The lock's file of the first head, after one download made it."""
    machine.download()
    (lock,) = (machine.cache / ".locks" / "models--org--heads").glob("specreg-*.lock")
    for link in machine.snapshot.iterdir():
        link.unlink()
    hub.requests.clear()
    return lock


def test_a_holder_that_gets_nowhere_is_not_waited_for(machine: Machine, hub: LocalHub) -> None:
    """
    After the time-out the other process is named as the reason.
    """
    with lock_of(machine, hub).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)

        with pytest.raises(HubError, match="Another process is downloading") as caught:
            machine.download(timeout_s=0.6)

    assert caught.value.reason == "held"


def test_a_holder_that_gets_on_is_waited_for(machine: Machine, hub: LocalHub) -> None:
    """
    As long as its file grows, others wait past the time-out.
    """
    path = lock_of(machine, hub)
    staging = machine.cache / "models--org--heads" / f".{path.stem}"
    staging.mkdir(parents=True)
    held = threading.Event()

    def hold() -> None:
        with path.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            held.set()
            for count in range(6):
                (staging / "growing").write_bytes(b"." * count)
                time.sleep(0.4)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    begun = time.monotonic()
    report = machine.download(timeout_s=1.5)
    holder.join()

    assert time.monotonic() - begun > 1.5
    assert report.files
