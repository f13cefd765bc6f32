"""Concurrent use loses nothing: two processes write and read one store at once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.store.store import Store
from tests.store.conftest import postgres_server, postgres_url, store_url
from tests.store.reports import detail_of

__all__ = ["postgres_server", "postgres_url", "store_url"]

pytestmark = pytest.mark.promises
ROOT = Path(__file__).parent.parent.parent
PROCESSES = ("first", "second")


def start(name: str, count: int, url: str) -> subprocess.Popen[str]:
    """A process that writes and reads as soon as it is told to."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.store.writer", name, str(count), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def test_two_processes_lose_nothing_and_meet_no_lock(
    store_url: str, times: Callable[[int, int], int], figure: Callable[[int, str], None]
) -> None:
    """
    Every verification that either process wrote is there once, and no operation was told of a lock.
    """
    count = times(1000, 20)
    running = [start(name, count, store_url) for name in PROCESSES]
    assert [process.stdout.readline() for process in running if process.stdout] == ["ready\n"] * 2
    began = time.monotonic()
    for process in running:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [json.loads(process.communicate(timeout=550)[0]) for process in running]
    seconds = time.monotonic() - began

    written = [name for answer in answers for name in answer["written"]]
    errors = [error for answer in answers for error in answer["errors"]]
    with Store.open(store_url) as store:
        kept = Counter(detail_of(one.faults) for one in store.verifications())
    lost = Counter(written) - kept

    assert [process.returncode for process in running] == [0, 0]
    assert len(written) == len(PROCESSES) * (count - count // 4)
    assert errors == []
    assert kept == Counter(written)
    kind = "SQLite" if store_url.startswith("sqlite") else "PostgreSQL"
    figure(
        5,
        f"{kind}: {len(PROCESSES)} processes x {count:,} operations on one store in "
        f"{seconds:.0f} s: {lost.total()} of {len(written):,} writes lost, {len(errors)} errors, "
        f"{sum('locked' in error for error in errors)} 'database is locked'",
    )
