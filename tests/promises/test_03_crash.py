"""A crash never leaves a bad record: downloads and writers of the record, killed at random moments.

Killed are real processes, by SIGKILL, anywhere between the first request and the record: while bytes come,
while they are hashed, synced, renamed and linked. Each next run goes on from what the killed one left.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.hub.conftest import EDGE, REPO, Machine, hub, machine
from tests.hub.server import LocalHub

pytestmark = pytest.mark.promises

__all__ = ["hub", "machine"]  # fixtures


def test_killed_downloads_leave_no_bad_record(
    machine: Machine,
    hub: LocalHub,
    times: Callable[[int, int], int],
    figure: Callable[[int, str], None],
) -> None:
    """
    Whatever moment the kill hits: no record before its files, no link to other bytes, no half-written blob.
    """
    hub.put(REPO, f"{EDGE}/model.safetensors", bytes(range(256)) * 8_000)
    kills = times(500, 12)

    told = machine.crowd("killed", kills=kills)

    assert (told["bad_records"], told["bad_links"], told["bad_blobs"], told["leftovers"]) == (0, 0, 0, 0)
    assert told["ended"] > 0
    figure(
        3,
        f"{told['kills']:,} kills of downloads: 0 bad records, 0 bad links, 0 bad blobs; "
        f"0 leftovers after {told['ended']:,} runs to the end",
    )


def test_killed_writers_leave_a_whole_record(
    machine: Machine,
    times: Callable[[int, int], int],
    figure: Callable[[int, str], None],
) -> None:
    """
    A record of 500 files is the old one or the new one, never less, and the next writer sweeps.
    """
    told = machine.crowd("records_killed", kills=times(500, 20))

    assert (told["bad_records"], told["leftovers"]) == (0, 0)
    figure(3, f"{told['kills']:,} kills of writers of the record: 0 bad records, 0 leftovers")
