"""`python -m tests.store.writer NAME COUNT [URL]`: verifications written and read by a process of its own.

Three of four operations write one, the fourth reads; every tenth opens the store anew, as a command does. It says
`ready`, waits for a line, and in the end prints one JSON line: what was written, in order, and every error.
"""

from __future__ import annotations

import json
import sys

from registry.errors import SpecregError
from registry.shelf import Shelf
from registry.store.store import Store
from tests.store.reports import faulty


def main(name: str, count: int, url: str | None) -> None:
    """Do it, and say what was done."""
    shelf = Shelf.open()
    written: list[str] = []
    errors: list[str] = []
    store = Store.open(url)
    print("ready", flush=True)  # noqa: T201 - this is how it answers
    sys.stdin.readline()
    for number in range(count):
        try:
            if number % 10 == 9:
                store.close()
                store = Store.open(url)
            if number % 4 == 3:
                assert store.verifications(limit=5)
            else:
                store.remember_verification([faulty(f"{name} {number}")], shelf)
                written.append(f"{name} {number}")
        except SpecregError as error:
            errors.append(str(error))
    store.close()
    print(json.dumps({"written": written, "errors": errors}))  # noqa: T201 - as above


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
