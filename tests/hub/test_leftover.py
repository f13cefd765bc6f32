"""What a transfer that broke off leaves: gone on with where it lies, hashed with the rest, let go if it is wrong."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from registry.errors import HubError
from registry.hub.download import download
from tests.hub.conftest import EDGE, REPO, Machine
from tests.hub.server import LocalHub, Reset

WEIGHTS = "model.safetensors"
CONFIG_BYTES = 35  # of config.json, which lacks too


def broken_off(machine: Machine, hub: LocalHub, content: bytes, after: int) -> Path:
    """The leftover of a transfer that broke off after so many bytes; from then on the hub serves well."""
    hub.put(REPO, f"{EDGE}/{WEIGHTS}", content)
    hub.faults.resets = [Reset(where="GET /cdn/", after=after)]
    with pytest.raises(HubError):
        machine.download()
    (leftover,) = machine.cache.rglob("leftover")
    os.truncate(leftover, after)  # it was tried more than once
    hub.faults.resets, hub.ranges = [], []
    hub.requests.clear()
    return leftover


def test_a_leftover_as_long_as_the_file_is_hashed_before_it_is_fetched(
    machine: Machine, hub: LocalHub
) -> None:
    """
    Who died when all had come, and nothing was in place yet, need not fetch a byte again.
    """
    content = bytes(range(256)) * 400
    broken_off(machine, hub, content, 20_000).write_bytes(content)

    machine.download()

    assert not [request for request in hub.requests if request.startswith("GET /cdn/")]
    assert (machine.snapshot / WEIGHTS).read_bytes() == content


def test_a_leftover_of_other_bytes_is_let_go(machine: Machine, hub: LocalHub) -> None:
    """
    As long as the file and no beginning of it: what comes in its stead is gone on with though it is shorter.
    """
    content = bytes(range(256)) * 400
    broken_off(machine, hub, content, 20_000).write_bytes(b"?" * len(content))
    hub.faults.resets = [Reset(where="GET /cdn/", after=7_000, times=1)]

    machine.download()

    assert hub.ranges == ["bytes=7000-"]
    assert (machine.snapshot / WEIGHTS).read_bytes() == content


def test_a_leftover_grows_where_it_lies(machine: Machine, hub: LocalHub) -> None:
    """
    The bytes that are here are neither copied nor written again: the blob is the very file they lay in.
    """
    content = bytes(range(256)) * 400
    leftover = broken_off(machine, hub, content, 20_000)
    inode = leftover.stat().st_ino

    machine.download()

    blob = (machine.snapshot / WEIGHTS).resolve()
    assert (blob.stat().st_ino, blob.read_bytes()) == (inode, content)
    assert hub.ranges == ["bytes=20000-"]


def test_a_server_without_ranges_costs_no_byte_that_is_here(machine: Machine, hub: LocalHub) -> None:
    """
    It sends the whole: the first bytes are passed over, and the rest is added.
    """
    content = bytes(range(256)) * 400
    leftover = broken_off(machine, hub, content, 20_000)
    inode = leftover.stat().st_ino
    hub.faults.ranges_ignored = True

    machine.download()

    blob = (machine.snapshot / WEIGHTS).resolve()
    assert (blob.stat().st_ino, blob.read_bytes()) == (inode, content)


def test_a_range_that_begins_elsewhere_is_not_added(machine: Machine, hub: LocalHub) -> None:
    """
    Bytes that do not follow those that are here are turned away; the whole is asked for, and its rest added.
    """
    content = bytes(range(256)) * 400
    leftover = broken_off(machine, hub, content, 20_000)
    hub.faults.ranges_shifted = 256

    with leftover.open("rb") as stream:  # held, so that no other file can be taken for it
        machine.download()
        inode = os.fstat(stream.fileno()).st_ino

    blob = (machine.snapshot / WEIGHTS).resolve()
    assert (blob.stat().st_ino, blob.read_bytes()) == (inode, content)


def test_a_whole_that_comes_packed_begins_anew(machine: Machine, hub: LocalHub) -> None:
    """
    Where packed bytes belong in the file nobody can tell: they are unpacked into an empty one.
    """
    content = bytes(range(256)) * 400
    broken_off(machine, hub, content, 20_000)
    hub.faults.ranges_ignored = hub.faults.packed = True

    machine.download()

    assert (machine.snapshot / WEIGHTS).read_bytes() == content


def test_a_leftover_that_is_a_link_is_not_written_through(
    machine: Machine, hub: LocalHub, tmp_path: Path
) -> None:
    """
    Bytes go into a file of its own, and never to where a link leads.
    """
    content = bytes(range(256)) * 400
    leftover = broken_off(machine, hub, content, 20_000)
    elsewhere = tmp_path / "served" / "elsewhere"
    elsewhere.write_bytes(content[:20_000])
    leftover.unlink()
    leftover.symlink_to(elsewhere)

    machine.download()

    assert elsewhere.read_bytes() == content[:20_000]
    assert (machine.snapshot / WEIGHTS).read_bytes() == content


def test_only_what_is_lacking_needs_room(
    machine: Machine, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A disk with room for the rest and no more takes the rest.
    """
    content = bytes(range(256)) * 400
    broken_off(machine, hub, content, 20_000)
    free = len(content) - 20_000 + CONFIG_BYTES
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(200_000, 200_000 - free, free)
    )

    machine.download()

    assert (machine.snapshot / WEIGHTS).read_bytes() == content


def test_one_byte_less_is_too_little_room(
    machine: Machine, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The sentence tells what has still to come, and what came stays for the next time.
    """
    content = bytes(range(256)) * 400
    leftover = broken_off(machine, hub, content, 20_000)
    free = len(content) - 20_001 + CONFIG_BYTES
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(200_000, 200_000 - free, free)
    )

    with pytest.raises(HubError, match=f"it needs {free + 1} bytes, and {free} are free"):
        machine.download()

    assert leftover.read_bytes() == content[:20_000]


def test_the_meter_counts_what_was_here(machine: Machine, hub: LocalHub) -> None:
    """
    A bar stands at the size of the file when all is here, whatever broke off, came again or was wrong.
    """
    content = bytes(range(256)) * 400
    broken_off(machine, hub, content, 20_000).write_bytes(b"?" * 20_000)
    hub.faults.resets = [Reset(where="GET /cdn/", after=7_000, times=1)]
    told: list[int] = []

    download(
        machine.shelf,
        [machine.head()],
        endpoint=hub.endpoint,
        bars=False,
        meter=lambda name, _, came: told.append(came) if name.endswith(WEIGHTS) else None,
    )

    assert sum(told) == len(content)
    assert told[0] == 20_000
