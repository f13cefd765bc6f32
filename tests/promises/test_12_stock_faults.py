"""What the stock client takes for success is caught, and mended where the server later answers right.

Eleven faults of a server or a cache, each with the unmodified client against a real server: first that the fault
does not pass, then, with the fault gone, that the same download brings the right bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from registry.errors import SpecregError
from registry.lock import lock_folder
from registry.verify import verify_head
from tests.hub.conftest import EDGE, REPO, Machine, hub, machine
from tests.hub.server import Faults, LocalHub, git_sha1

pytestmark = pytest.mark.promises

__all__ = ["hub", "machine"]  # fixtures

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
LONG = bytes(range(256)) * 400
Trouble = Callable[[Machine, LocalHub], None]


def changed(name: str, change: Callable[[bytes], bytes]) -> Trouble:
    """One file always comes changed."""

    def trouble(_: Machine, hub: LocalHub) -> None:
        hub.faults.body = lambda path, content: change(content) if path.endswith(name) else content

    return trouble


def flipped(content: bytes) -> bytes:
    """One bit is another."""
    return content[:-1] + bytes([content[-1] ^ 1])


def zeroed(content: bytes) -> bytes:
    """A run of bytes is zeros."""
    return content[: len(content) // 2] + bytes(len(content) - len(content) // 2)


def changed_files(_: Machine, hub: LocalHub) -> None:
    """The weights come with a bit changed, and config.json with a run of zeros."""
    hub.faults.body = lambda path, content: flipped(content) if path.endswith(WEIGHTS) else zeroed(content)


def shifted_range(_: Machine, hub: LocalHub) -> None:
    """A resumed range is answered with shifted bytes."""
    hub.faults.cuts = [10_000, 1 << 20] * 4
    hub.faults.ranged = lambda content: content[1:] + content[:1]


def rotten_cache(machine: Machine, hub: LocalHub) -> None:
    """A cached blob lost a bit, and the Hub is away for now."""
    machine.download()
    blob = (machine.snapshot / WEIGHTS).resolve()
    blob.write_bytes(flipped(blob.read_bytes()))
    hub.faults.stalled = "/resolve/"


def empty_listing(_: Machine, hub: LocalHub) -> None:
    """The tree holds nothing."""
    hub.faults.rows = lambda _rows: []


def lost_page(_: Machine, hub: LocalHub) -> None:
    """The address of the listing's next page is lost."""
    hub.faults.page, hub.faults.link_lost = 1, True


def nothing_of_that_name(machine: Machine, _: LocalHub) -> None:
    """The folder asked for matches nothing in the repository."""
    elsewhere = machine.head().model_copy(update={"path": "a--to--b/run[1]"})
    heads = (elsewhere, *machine.catalog.heads[1:])
    machine.catalog = machine.catalog.model_copy(update={"heads": heads})


def wrong_commit(machine: Machine, hub: LocalHub) -> None:
    """Files are said to be of another commit than the one that is pinned."""
    entry = lock_folder(hub.root / REPO / EDGE, commit=hub.commit(REPO))
    machine.lock = machine.lock.with_head(EDGE, entry)
    hub.faults.commit = "f" * 40


def anothers_etag(machine: Machine, hub: LocalHub) -> None:
    """config.json bears the ETag of another file that the cache holds."""
    machine.download(number=1)
    other = (hub.root / REPO / "b--to--c/pickled/config.json").read_bytes()
    hub.put(REPO, f"{EDGE}/{CONFIG}", b'{"hidden_size": 4, "num_layers": 2 }')
    hub.faults.etag = lambda path, etag: git_sha1(other) if path.endswith(CONFIG) else etag


def climbing_etag(_: Machine, hub: LocalHub) -> None:
    """An ETag leads out of the cache."""
    hub.faults.etag = lambda path, etag: "../../../../outside" if path.endswith(WEIGHTS) else etag


def stale_branch(machine: Machine, hub: LocalHub) -> None:
    """The look-up of `main` fails, with an older `main` in the cache."""
    machine.download()
    refs = machine.cache / "models--org--heads" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(hub.commit(REPO))
    (machine.folder / "state" / "downloaded.lock").unlink()
    hub.put(REPO, "README.md", b"main has moved on")
    hub.faults.stalled = "/revision/"


FAULTS: dict[str, Trouble] = {
    "flipped bits and zeros": changed_files,
    "a shifted range": shifted_range,
    "a short object of a short size": changed(WEIGHTS, lambda content: content[:-7]),
    "a rotten cache": rotten_cache,
    "an empty tree": empty_listing,
    "a lost page of the tree": lost_page,
    "a pattern that matches nothing": nothing_of_that_name,
    "a wrong commit": wrong_commit,
    "another's ETag": anothers_etag,
    "an ETag that climbs": climbing_etag,
    "a stale branch": stale_branch,
}


@pytest.fixture
def sound(machine: Machine) -> Callable[[], bool]:
    """Whether the head is here, recorded and sound."""

    def look() -> bool:
        place = machine.shelf.head_place(machine.head())
        entry = machine.shelf.lock.heads.get(EDGE)
        return (
            entry is not None
            and place.folder is not None
            and verify_head(machine.head(), place, entry=entry).ok
        )

    return look


def caught(machine: Machine, hub: LocalHub, trouble: Trouble) -> bool:
    """Whether a download with this fault ends in an error, and nothing new is linked."""
    trouble(machine, hub)
    before = {path: path.read_bytes() for path in machine.cache.glob("models--*/snapshots/*/*/*/*")}
    try:
        machine.download(timeout_s=1.0)
    except SpecregError:
        after = {path: path.read_bytes() for path in machine.cache.glob("models--*/snapshots/*/*/*/*")}
        return after == before and machine.outside() == set()
    return False


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_stock_client_is_caught(
    machine: Machine,
    hub: LocalHub,
    sound: Callable[[], bool],
    figure: Callable[[int, str], None],
    name: str,
) -> None:
    """
    It is no success, and once the server answers right the same download mends it.
    """
    if name == "a shifted range":
        hub.put(REPO, f"{EDGE}/{WEIGHTS}", LONG)
    is_caught = caught(machine, hub, FAULTS[name])
    hub.released.set()
    hub.faults = Faults()
    machine.catalog = machine.catalog.model_copy(
        update={"heads": (machine.head().model_copy(update={"path": None}), *machine.catalog.heads[1:])}
    )
    machine.download(timeout_s=20.0)
    true = (machine.snapshot / WEIGHTS).read_bytes() == (hub.root / REPO / EDGE / WEIGHTS).read_bytes()
    is_mended = true and (sound() or name == "a shifted range")  # those bytes are no tensors
    figure(12, f"{name}: caught {is_caught}, repaired when the server answered right {is_mended}")

    assert (is_caught, is_mended) == (True, True)
