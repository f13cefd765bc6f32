"""`python -m tests.store.killed ROUNDS SEED`: processes that write the store and are killed at any moment.

Each round forks a process that opens the store under SPECREG_HOME, writes verifications and acknowledges each when
the store has it, and kills it. Every fifth round begins without a store, so that its making is interrupted too. Prints
one JSON line: kills, those that came while a store was made, acknowledged writes, and what of them was lost.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import sqlite3
import sys
import time
from contextlib import closing

import registry.store.migrating  # noqa: F401 - loaded before the first fork: it would be most of a young process's life
from registry.home import home
from registry.shelf import Shelf
from registry.store.store import Store
from tests.store.reports import detail_of, faulty


def child(answers: int, name: str, shelf: Shelf) -> None:
    """Write until killed."""
    with Store.open() as store:
        for number in range(1_000_000):
            store.remember_verification([faulty(f"{name} {number}")], shelf)
            os.write(answers, f"{name} {number}\n".encode())


def one_round(name: str, wait_s: float, shelf: Shelf) -> list[str]:
    """What a process that lived so long after its first word, or its start, had acknowledged."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            child(writing, name, shelf)
        finally:
            os._exit(1)
    os.close(writing)
    if not name.startswith("new"):
        select.select([reading], [], [], 30)
    time.sleep(wait_s)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with os.fdopen(reading, "rb") as stream:
        return stream.read().decode().splitlines()


def main(rounds: int, seed: int) -> None:
    """All rounds, and what is left of them."""
    draw = random.Random(seed)  # noqa: S311 - moments, not secrets
    shelf = Shelf.open()
    acknowledged: list[str] = []
    told = {"kills": 0, "while_made": 0, "acknowledged": 0, "lost": 0, "unsound": 0}

    def look() -> None:
        with Store.open() as store:
            kept = {detail_of(one.faults) for one in store.verifications()}
        told["lost"] += len(set(acknowledged) - kept)
        with closing(sqlite3.connect(home() / "store.db")) as connection:
            told["unsound"] += connection.execute("PRAGMA integrity_check").fetchone() != ("ok",)

    for number in range(rounds):
        new = number % 5 == 0
        if new:
            shutil.rmtree(home(), ignore_errors=True)
            told["acknowledged"] += len(acknowledged)
            acknowledged = []
        wait_s = draw.random() * (0.3 if new else 0.1)
        found = one_round(f"{'new' if new else 'old'} {number}", wait_s, shelf)
        told["kills"] += 1
        told["while_made"] += new and not found
        acknowledged += found
        look()
    told["acknowledged"] += len(acknowledged)
    print(json.dumps(told))  # noqa: T201 - this is how it answers


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
