"""Somebody who has heads of their own in a folder, recorded in a lock, and a repository on the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from registry.hub.publishing import Published, publish
from registry.lock import Lock, lock_folder, write_lock
from registry.publication import Publication, find_head, prepare
from registry.records import LockEntry
from registry.shelf import Shelf
from tests.hub.server import LocalHub
from tests.registry.stored import write_head

NAME = "a--to--b/mine"
REPO = "me/heads"
CATALOG = """
version: 1
sources:
  mine: {path: ./my-heads}
models:
  a: {hub: org/model-a, hidden_size: 4}
  b: {hub: org/model-b}
heads:
  - {source: a, target: b, run: mine, from: mine, path: somewhere}
  - {source: a, target: b, run: other, from: mine}
"""


class Own:
    """A catalog with one head that is here, `a--to--b/mine`, in a folder that bears another name."""

    def __init__(self, folder: Path, hub: LocalHub) -> None:
        self.hub = hub
        self.catalog = folder / "own.yaml"
        self.catalog.write_text(CATALOG)
        self.head = write_head(folder / "my-heads" / "somewhere")
        self.write("trainer_state.json", json.dumps({"global_step": 3}).encode())
        self.record()

    def write(self, name: str, content: bytes) -> None:
        """A file of the head, not recorded yet."""
        target = self.head / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def record(self) -> LockEntry:
        """Record the head's folder as it is now."""
        entry = lock_folder(self.head)
        write_lock(Lock(heads={NAME: entry}), self.catalog.with_suffix(".lock"))
        return entry

    def prepare(self, name: str = NAME) -> Publication:
        """The head, verified and read."""
        shelf = Shelf.open([self.catalog])
        return prepare(shelf, find_head(shelf, name), repo=REPO)

    def publish(self, publication: Publication | None = None, **options: Any) -> Published:
        """Publish it to the hub."""
        options = {"timeout_s": 20.0, **options}
        return publish(publication or self.prepare(), REPO, endpoint=self.hub.endpoint, **options)

    def there(self, commit: str = "main") -> dict[str, bytes]:
        """The repository's files at a commit."""
        folder = self.hub.root_at(REPO, commit) / REPO
        return {path: (folder / path).read_bytes() for path in self.hub.files(REPO, commit)}

    def written(self) -> list[str]:
        """The requests that were made to write."""
        return [line for line in self.hub.requests if line.startswith(("POST", "PUT"))]
