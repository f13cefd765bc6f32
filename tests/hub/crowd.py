"""Downloads in processes of their own, forked from one that has imported everything: many at once, or killed.

`python -m tests.hub.crowd JOB`, where JOB is one JSON object; prints one JSON object. The hub, the cache and
SPECREG_HOME are those of the environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import registry.hub.client  # noqa: F401 - so that no child has to
from registry.catalog import load_catalog
from registry.errors import SpecregError
from registry.home import downloaded_lock_path, home
from registry.hub.download import download
from registry.hub.downloaded import remember
from registry.hub.orders import head_order
from registry.lock import Lock, read_lock
from registry.places import hub_cache
from registry.records import FileRecord, LockEntry
from registry.shelf import Shelf
from tests.hub.server import git_sha1

Job = dict[str, Any]


def forked(action: Callable[[], object]) -> int:
    """A child that does this; it ends with 0, or with 1 and its error on stderr. Its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        action()
        code = 0
    except SpecregError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    finally:
        os._exit(code)


def crowd(job: Job) -> Job:
    """Children that download the same heads at once, each under `limit_bytes` a file where that is given."""

    def act() -> None:
        if limit := job.get("limit_bytes"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        bring(job)

    children = [forked(act) for _ in range(job["children"])]
    return {"codes": [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]}


def bring(job: Job) -> None:
    """Download every head of the catalog."""
    shelf = Shelf(load_catalog(job["catalog"]), read_lock(downloaded_lock_path()))
    heads = [head for head in shelf.catalog.heads if head.from_ == "published"]
    download(shelf, heads, bars=False, quick=True, timeout_s=job.get("timeout_s", 20.0))


def killed(job: Job) -> Job:
    """Downloads killed at random moments, each going on from what the last one left."""
    draw = random.Random(job["seed"])  # noqa: S311 - moments, not secrets
    truth = {name: LockEntry.model_validate(entry) for name, entry in job["truth"].items()}
    span_s = timed(lambda: os.waitpid(forked(lambda: bring(job)), 0))
    told = {"kills": 0, "ended": 0, "bad_records": 0, "bad_links": 0, "bad_blobs": 0, "leftovers": 0}
    forget()
    rounds = 1
    while told["kills"] < job["kills"]:
        child = forked(lambda: bring(job))
        if rounds % 10:  # every tenth may come to its end
            time.sleep(draw.uniform(0, span_s * 1.1))
            os.kill(child, signal.SIGKILL)
        rounds += 1
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        told["kills"] += code == -signal.SIGKILL
        told["bad_records"] += bad_records(truth)
        told["bad_links"] += bad_links(truth)
        told["bad_blobs"] += bad_blobs()
        if code == 0:
            told["ended"] += 1
            told["leftovers"] += leftovers()
            told["bad_records"] += set(read_lock(downloaded_lock_path()).heads) != set(truth)
            forget()
    return told


def records_killed(job: Job) -> Job:
    """Writers of the record killed at random moments: the file holds one of the whole entries, always."""
    draw = random.Random(job["seed"])  # noqa: S311 - moments, not secrets
    shelf = Shelf(load_catalog(job["catalog"]), Lock())
    order = head_order(shelf, shelf.catalog.heads[0], Lock())
    path = downloaded_lock_path()
    files = {f"file-{number}": FileRecord(size_bytes=number, sha256="0" * 64) for number in range(500)}
    entries = [LockEntry(commit=digit * 40, files=files) for digit in "ab"]
    remember(path, order, entries[0])

    def write() -> None:
        while True:
            for entry in entries:
                remember(path, order, entry)

    bad = 0
    for _ in range(job["kills"]):
        child = forked(write)
        time.sleep(draw.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        bad += read_lock(path).heads.get(order.name) not in entries
    remember(path, order, LockEntry(commit="c" * 40, files={}))
    return {"kills": job["kills"], "bad_records": bad, "leftovers": len(list(path.parent.glob(".*.tmp")))}


def bad_records(truth: dict[str, LockEntry]) -> int:
    """Entries that are not the truth, or came before their files."""
    count = 0
    for name, entry in read_lock(downloaded_lock_path()).heads.items():
        links = [
            path for file in entry.files for path in hub_cache().glob(f"models--*/snapshots/*/{name}/{file}")
        ]
        count += entry != truth[name] or len(links) != len(entry.files)
    return count


def bad_links(truth: dict[str, LockEntry]) -> int:
    """Files of snapshots whose bytes are not the true ones."""
    count = 0
    for name, entry in truth.items():
        for file in hub_cache().glob(f"models--*/snapshots/*/{name}/*"):
            record = entry.files.get(file.name)
            count += record is None or record.sha256 != hashlib.sha256(file.read_bytes()).hexdigest()
    return count


def bad_blobs() -> int:
    """Blobs that do not bear their names out, half-written ones included."""
    blobs = [path for path in hub_cache().glob("models--*/blobs/*") if path.is_file()]
    return sum(
        path.name not in (hashlib.sha256(path.read_bytes()).hexdigest(), git_sha1(path.read_bytes()))
        for path in blobs
    )


def leftovers() -> int:
    """What a run that came to its end should not have left."""
    return len(
        [
            *hub_cache().glob("models--*/.specreg-*"),
            *hub_cache().glob("models--*/blobs/*.incomplete"),
            *home().glob(".downloaded.lock.*.tmp"),
        ]
    )


def forget() -> None:
    """Nothing was ever downloaded here."""
    shutil.rmtree(hub_cache(), ignore_errors=True)
    shutil.rmtree(home(), ignore_errors=True)


def timed(action: Callable[[], object]) -> float:
    """Seconds it takes."""
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    given["catalog"] = Path(given["catalog"])
    jobs = {"crowd": crowd, "killed": killed, "records_killed": records_killed}
    sys.stdout.write(json.dumps(jobs[given["job"]](given)))
