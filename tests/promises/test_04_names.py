"""Names, revisions, digests and repo ids cannot leave their folder.

Ten thousand hostile strings in each place that a stranger's word may reach: what the Hub answers goes through
real requests, what a catalog or a lock says through their real readers. Counted is what lies outside the cache
and SPECREG_HOME afterwards, and what the client was asked for.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heads.training.making import WORK
from heads.training.order import Order as TrainingOrder
from registry.editing.entering import require_enterable
from registry.errors import CatalogError, HubError, SpecregError, UsageError
from registry.files.folder import is_safe_name
from registry.hub.client import Hub
from registry.hub.download import download
from registry.hub.orders import Order, head_order
from registry.lock import Lock, read_lock, write_lock
from registry.places import hub_cache
from registry.records import LockEntry, Model, Source
from registry.shelf import Shelf
from tests.hub.conftest import EDGE, REPO, Machine, hub, machine
from tests.hub.server import LocalHub

__all__ = ["hub", "machine"]  # fixtures

PIECES = (
    *(
        "..",
        "../",
        "..\\",
        ".",
        "/",
        "\\",
        "//",
        "\\\\",
        "./",
        "...",
        "....//",
        "..;/",
        "~",
        "~root/",
        "$HOME/",
    ),
    *("C:", "C:\\", "c:/", "\\\\?\\", "//host/share/", "file://", "CON", "NUL", "aux.txt", "COM1", ":stream"),
    *("%2e%2e%2f", "%2e%2e/", "..%2f", "%252e%252e%252f", "..%5c", "%00", "%c0%ae%c0%ae/", "%uff0e"),
    *("\0", "\n", "\r\n", "\t", " ", "\x7f", "\x1b[2J", "\u202e", "\ufeff", "\u200b"),
    *(
        "\uff0e\uff0e\uff0f",
        "\u2025/",
        "\u2024\u2024/",
        "\u2215",
        "\u29f5",
        "é",
        "e\u0301",
        "\uff43onfig.json",
    ),
    *(
        "config.json",
        "model.safetensors",
        "a",
        "main",
        "refs",
        "blobs",
        "snapshots",
        "0" * 40,
        "f" * 64,
        "--",
    ),
    *(
        "x" * 300,
        "/etc/passwd",
        "/var/outside",
        "*",
        "?",
        "[a]",
        "{a}",
        "|id",
        ";id",
        "`id`",
        "$(id)",
        "'",
        '"',
    ),
)


def hostile(count: int, seed: int) -> Iterator[str]:
    """So many strings, each of one to six pieces; every piece alone first."""
    draw = random.Random(seed)  # noqa: S311 - a fixed sequence, not a secret
    for number in range(count):
        alone = PIECES[number] if number < len(PIECES) else ""
        yield alone or "".join(draw.choices(PIECES, k=draw.randint(1, 6)))


def printable(text: str) -> str:
    """What can stand in a header."""
    return "".join(char for char in text if char.isprintable()).encode("latin-1", "ignore").decode("latin-1")


@pytest.fixture
def nothing_outside(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails when anything came to lie beside cache and home, in the working folder or above."""
    work = machine.folder / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def around() -> set[Path]:
        mine = {machine.cache, machine.folder / "state", machine.folder / "served"}
        beside = {path for path in machine.folder.rglob("*") if not mine & {path, *path.parents}}
        return (
            beside
            | set(machine.folder.parent.iterdir())
            | {Path("/var/outside")} & set(Path("/var").iterdir())
        )

    before = around()
    yield
    assert around() == before
    cache = {path.name for path in machine.cache.iterdir()} if machine.cache.is_dir() else set()
    assert cache <= {"models--org--heads", ".locks"}


pytestmark = [pytest.mark.promises, pytest.mark.usefixtures("nothing_outside")]


def only_true_requests(hub: LocalHub) -> bool:
    """Whether files and trees were asked for at a commit of 40 hex digits, and of true names, only."""
    true = re.compile(
        r"(GET|HEAD) /(org/heads/resolve/[0-9a-f]{40}/a--to--b/run/(config\.json|model\.safetensors)"
        r"|api/models/org/heads/(revision/[\w./-]+|tree/[0-9a-f]{40}/a--to--b/run)"
        r"|cdn/org/heads/a--to--b/run/model\.safetensors)"
    )
    return all(true.fullmatch(request) for request in hub.requests)


def test_listed_names_choose_nothing(
    machine: Machine,
    hub: LocalHub,
    times: Callable[[int, int], int],
    figure: Callable[[int, str], None],
) -> None:
    """
    Of a listing full of hostile names the files of a head are fetched, and no others.
    """
    count = times(10_000, 200)
    names = [*hostile(count, 1)]
    for start in range(0, count, 1_000):
        rows = [
            {"type": "file", "path": path, "size": 1, "oid": "0" * 40}
            for name in names[start : start + 1_000]
            for path in (name, f"{EDGE}/{name}")
            if path not in (f"{EDGE}/config.json", f"{EDGE}/model.safetensors")
        ]
        hub.faults.rows = lambda true, rows=rows: rows + true  # type: ignore[misc]
        (machine.folder / "state" / "downloaded.lock").unlink(missing_ok=True)
        report = machine.download()
        assert [file.path for file in report.files] == ["config.json", "model.safetensors"]

    assert only_true_requests(hub)
    figure(4, f"{count:,} hostile names in listings: 0 writes outside, 0 requests for them")


@pytest.mark.parametrize("field", ["digest", "ETag", "commit of a branch", "commit of a file"])
def test_answers_name_nothing_outside(
    hub: LocalHub,
    field: str,
    times: Callable[[int, int], int],
    figure: Callable[[int, str], None],
) -> None:
    """
    A digest, an ETag or a commit that the Hub makes up is refused, or is a plain word.
    """
    count = times(10_000, 150)
    commit = hub.commit(REPO)
    path, plain = f"{EDGE}/config.json", 0
    with Hub(cache=hub_cache(), endpoint=hub.endpoint, bars=False, timeout_s=20.0) as window:
        for text in hostile(count, 2):
            given = printable(text)
            try:
                if field == "digest":
                    hub.faults.rows = lambda rows, text=text: [{**rows[0], "oid": text}]  # type: ignore[misc]
                    listed = window.files_in(REPO, commit, EDGE)
                    assert re.fullmatch("[0-9a-f]{40}", listed[0].git_sha1 or "")
                elif field == "ETag":
                    hub.faults.etag = lambda _path, _etag, given=given: given  # type: ignore[misc]
                    assert re.fullmatch("[A-Za-z0-9_-]{1,128}", window.etag_of(REPO, commit, path))
                elif field == "commit of a branch":
                    hub.faults.commit = text
                    assert re.fullmatch("[0-9a-f]{40}", window.commit_of(REPO, "main"))
                else:
                    hub.faults.commit = given or "x"
                    window.etag_of(REPO, commit, path)
                    assert given == commit
                plain += 1
            except HubError:
                continue

    assert plain < count / 10
    assert only_true_requests(hub)
    figure(4, f"{count:,} hostile strings as {field}: 0 writes outside, {plain:,} plain words let through")


def test_an_etag_never_reaches_the_client(machine: Machine, hub: LocalHub) -> None:
    """
    Whole downloads under hostile ETags, those of the single pieces, write nothing outside.
    """
    for piece in (one for one in PIECES[:40] if not re.fullmatch(r"\w+", printable(one), re.ASCII)):
        hub.faults.etag = lambda _path, _etag, piece=piece: printable(piece)  # type: ignore[misc]
        with pytest.raises(SpecregError):
            machine.download()

    assert only_true_requests(hub)


@pytest.mark.parametrize("field", ["path", "run", "hub", "revision"])
def test_a_catalog_leads_nowhere_else(
    machine: Machine,
    field: str,
    times: Callable[[int, int], int],
    figure: Callable[[int, str], None],
) -> None:
    """
    What a catalog says of a head is refused, or lies in the cache, at a commit, and can be recorded.
    """
    count, taken = times(10_000, 1_000), 0
    for text in hostile(count, 3):
        try:
            order = ordered(machine, field, text)
        except CatalogError:
            continue
        taken += 1
        folder = Path(os.path.normpath(order.folder("0" * 40)))
        store = folder.relative_to(hub_cache()).parts
        assert (store[0][:8], store[1:3]) == ("models--", ("snapshots", "0" * 40))
        assert (
            len(Path(os.path.normpath(order.store / "refs" / order.revision)).relative_to(order.store).parts)
            > 1
        )
        assert (order.pinned is None) == (re.fullmatch("[0-9a-f]{40}", order.revision) is None)

    figure(4, f"{count:,} hostile strings as {field} in a catalog: {taken:,} taken, all inside the cache")


def ordered(machine: Machine, field: str, text: str) -> Order:
    """The order of a head of which one field is hostile."""
    head = machine.head().model_copy(update={field: text} if field in ("path", "run") else {})
    source = Source(hub=REPO).model_copy(update={field: text} if field in ("hub", "revision") else {})
    catalog = machine.catalog.model_copy(update={"sources": {"published": source}, "heads": (head,)})
    return head_order(Shelf(catalog, Lock()), head, Lock())


@pytest.mark.parametrize("field", ["name", "file", "commit", "sha256"])
def test_a_lock_leads_nowhere_else(
    machine: Machine,
    field: str,
    times: Callable[[int, int], int],
    figure: Callable[[int, str], None],
) -> None:
    """
    A lock with a hostile word is refused whole, or the word stays inside its folder.
    """
    count, taken = times(10_000, 1_000), 0
    lock = machine.folder / "state" / "hostile.lock"
    lock.parent.mkdir()
    for text in hostile(count, 4):
        record = {"size_bytes": 1, "sha256": text if field == "sha256" else "0" * 64}
        entry = {
            "commit": text if field == "commit" else "0" * 40,
            "files": {text if field == "file" else "config.json": record},
        }
        name = text if field == "name" else EDGE
        lock.write_text(json.dumps({"version": 1, "heads": {name: entry}, "models": {}}))
        try:
            found = read_lock(lock)
        except CatalogError:
            continue
        taken += 1
        for held in (*found.heads, *(file for one in found.heads.values() for file in one.files)):
            assert is_safe_name(held)
            assert Path(os.path.normpath(f"/inside/{held}")).is_relative_to("/inside")
            assert ".." not in held.split("/")

    figure(4, f"{count:,} hostile strings as {field} in a lock: {taken:,} taken, all inside their folder")


def test_a_head_of_any_name_is_recorded_or_refused(machine: Machine, hub: LocalHub) -> None:
    """
    What cannot be recorded is refused in a sentence, before anything is fetched.
    """
    for run in ("run b", "é", "a$b", "x" * 200, "run.", "a:b", "CON"):
        head = machine.head().model_copy(update={"run": run, "path": EDGE})
        catalog = machine.catalog.model_copy(update={"heads": (head,)})
        shelf = Shelf(catalog, Lock())
        try:
            download(shelf, [head], endpoint=hub.endpoint, bars=False)
        except SpecregError:
            assert hub.requests == []
            continue
        finally:
            hub.requests.clear()
        state = machine.folder / "state" / "downloaded.lock"
        assert head.name in read_lock(state).heads
        write_lock(Lock().with_head(head.name, LockEntry(files={})), state)


def test_a_training_leads_nowhere_else(
    times: Callable[[int, int], int], figure: Callable[[int, str], None]
) -> None:
    """
    A run's name is refused before anything is made of it, or its folders lie where heads are kept.
    """
    count, taken = times(10_000, 1_000), 0
    source, target = Model(alias="a"), Model(alias="b")
    for text in hostile(count, 5):
        try:
            order = TrainingOrder(source=source, target=target, run=text, prompts=("x",))
        except UsageError:
            continue
        taken += 1
        for root in (Path("/out"), Path("/out") / WORK):
            folder = Path(os.path.normpath(root / order.edge / order.run))
            assert folder.relative_to(root).parts == (order.edge, text)

    figure(4, f"{count:,} hostile strings as --run of a training: {taken:,} taken, all inside --out")


def test_heads_are_kept_below_their_catalog(
    machine: Machine, times: Callable[[int, int], int], figure: Callable[[int, str], None]
) -> None:
    """
    A folder for heads that no catalog there could name is refused, and is not made.
    """
    count, taken = times(10_000, 300), 0
    base = machine.folder / "state" / "own"
    base.mkdir(parents=True)
    for text in hostile(count, 6):
        try:
            require_enterable(base / "catalog.yaml", base / text)
        except UsageError:
            continue
        taken += 1
        assert (base / text).resolve().is_relative_to(base)

    assert {path.name for path in (machine.folder / "state").iterdir()} == {"own"}
    figure(4, f"{count:,} hostile strings as --out of a training: {taken:,} taken, all below the catalog")
