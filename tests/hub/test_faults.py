"""What the stock client takes for success, and we do not."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

import pytest

from registry.errors import CheckpointError, HubError
from registry.home import downloaded_lock_path
from registry.lock import lock_folder
from tests.hub.conftest import EDGE, REPO, Machine
from tests.hub.server import LocalHub, Reset, Rows, git_sha1

WEIGHTS = "model.safetensors"


def spoiled(
    name: str, change: Callable[[bytes], bytes], *, times: int = 1_000
) -> Callable[[str, bytes], bytes]:
    """Spoil the body of one file so many times; each answer to HEAD counts too."""
    left = [times]

    def body(path: str, content: bytes) -> bytes:
        if not path.endswith(name) or left[0] <= 0:
            return content
        left[0] -= 1
        return change(content)

    return body


def flip(content: bytes) -> bytes:
    """The same bytes but for one bit."""
    return content[:-1] + bytes([content[-1] ^ 1])


def assert_not_installed(machine: Machine) -> None:
    """Neither a link nor a half-written or bad blob nor a record is left."""
    assert not (machine.snapshot / WEIGHTS).exists()
    assert not (machine.snapshot / "config.json").exists()
    assert not [name for name in machine.blobs() if "incomplete" in name]
    assert machine.blobs() <= good_names(machine)
    assert not downloaded_lock_path().exists()


def good_names(machine: Machine) -> set[str]:
    """What sound blobs of the cache are called: those whose bytes bear their name out."""
    folder = machine.cache / "models--org--heads" / "blobs"
    return {
        path.name
        for path in folder.iterdir()
        if path.name in (git_sha1(path.read_bytes()), hashlib.sha256(path.read_bytes()).hexdigest())
    }


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
@pytest.mark.parametrize("locked", [False, True], ids=["listed", "locked"])
def test_a_flipped_byte_is_caught(machine: Machine, hub: LocalHub, name: str, locked: bool) -> None:
    """
    A file that comes with one bit changed, twice, is not installed.
    """
    if locked:
        entry = lock_folder(hub.root / REPO / EDGE, commit=hub.commit(REPO))
        machine.lock = machine.lock.with_head(EDGE, entry)
    hub.faults.body = spoiled(name, flip)

    with pytest.raises(
        CheckpointError, match=f"{name} of {EDGE} differs from .*: expected .*, got "
    ) as caught:
        machine.download()

    assert caught.value.exit_code == 1
    assert_not_installed(machine)


def test_a_file_that_is_right_the_second_time_is_installed(machine: Machine, hub: LocalHub) -> None:
    """
    One bad transfer is mended by the next.
    """
    hub.faults.body = spoiled(WEIGHTS, flip, times=3)  # twice the size for HEAD, then the bytes

    machine.download()

    assert (machine.snapshot / WEIGHTS).read_bytes() == (hub.root / REPO / EDGE / WEIGHTS).read_bytes()
    gets = [
        request for request in hub.requests if request.startswith("GET /cdn/") and request.endswith(WEIGHTS)
    ]
    assert len(gets) == 2


def test_a_short_object_with_a_short_size_is_caught(machine: Machine, hub: LocalHub) -> None:
    """
    When HEAD tells the short size too, the size in the listing still tells.
    """
    hub.faults.body = spoiled(WEIGHTS, lambda content: content[:-7])

    with pytest.raises(CheckpointError, match=r"expected [0-9]+ bytes, got [0-9]+"):
        machine.download()

    assert_not_installed(machine)


@pytest.mark.parametrize(
    "change", [flip, lambda content: content[:-5], lambda _: b""], ids=["flip", "cut", "empty"]
)
def test_a_rotten_blob_is_fetched_again(machine: Machine, change: Callable[[bytes], bytes]) -> None:
    """
    What rotted in the cache is found by its hash, and replaced.
    """
    machine.download()
    blob = (machine.snapshot / WEIGHTS).resolve()
    content = blob.read_bytes()
    blob.write_bytes(change(content))

    report = machine.download()

    assert {file.path: file.status for file in report.files} == {"config.json": "here", WEIGHTS: "fetched"}
    assert (machine.snapshot / WEIGHTS).read_bytes() == content


def test_a_rotten_blob_stays_when_the_hub_is_away(machine: Machine, hub: LocalHub) -> None:
    """
    Nothing that was here before is taken away for want of something better.
    """
    machine.download()
    blob = (machine.snapshot / WEIGHTS).resolve()
    blob.write_bytes(flip(blob.read_bytes()))
    hub.endpoint = "http://127.0.0.1:9"

    with pytest.raises(HubError):
        machine.download()

    assert blob.exists()


@pytest.mark.parametrize(
    "rows",
    [
        lambda _rows: [],
        lambda rows: [row for row in rows if not row["path"].endswith("config.json")],
        lambda rows: [row for row in rows if not row["path"].endswith(WEIGHTS)],
        lambda rows: [{**row, "path": f"../{row['path']}"} for row in rows],
        lambda rows: [{**row, "path": row["path"].replace("/run/", "/run/../")} for row in rows],
        lambda rows: [{**row, "path": "\\".join(row["path"].rsplit("/", 1))} for row in rows],
    ],
    ids=["empty", "no-config", "no-weights", "above", "dots", "backslash"],
)
def test_a_listing_that_lacks_a_file_is_a_fault(
    machine: Machine, hub: LocalHub, rows: Callable[[Rows], Rows]
) -> None:
    """
    A head without config.json or weights was listed wrongly; that is never a success.
    """
    hub.faults.rows = rows

    with pytest.raises(CheckpointError, match=f"listing of {EDGE} at .* is incomplete"):
        machine.download()

    assert not machine.cache.exists()


def test_a_lost_page_is_a_fault(machine: Machine, hub: LocalHub) -> None:
    """
    When the address of the second page is lost, the weights are missed.
    """
    hub.faults.page, hub.faults.link_lost = 1, True

    with pytest.raises(CheckpointError, match="is incomplete"):
        machine.download()


def test_pages_are_followed(machine: Machine, hub: LocalHub) -> None:
    """
    A listing may come in several pages.
    """
    hub.faults.page = 1

    assert len(machine.download().files) == 2


def test_a_lost_page_does_not_make_a_head_a_pickle(machine: Machine, hub: LocalHub) -> None:
    """
    A listing with a pickle alone is believed only when the Hub serves no safetensors.
    """
    hub.put(REPO, f"{EDGE}/pytorch_model.bin", b"an older save")
    hub.faults.rows = lambda rows: [row for row in rows if not row["path"].endswith(WEIGHTS)]

    with pytest.raises(CheckpointError, match=r"expected model\.safetensors too"):
        machine.download()


def test_a_wrong_commit_is_refused(machine: Machine, hub: LocalHub) -> None:
    """
    A file said to be of another commit than the one asked for is not taken.
    """
    entry = lock_folder(hub.root / REPO / EDGE, commit=hub.commit(REPO))
    machine.lock = machine.lock.with_head(EDGE, entry)
    hub.faults.commit = "f" * 40

    with pytest.raises(HubError, match="said to be of another commit"):
        machine.download()

    assert not list(machine.cache.glob("models--*"))


@pytest.mark.parametrize("etag", ["../../../../outside", "..", "a/b", "a\\b", "/absolute", "a b", ""])
def test_an_etag_that_is_no_plain_word_is_refused(machine: Machine, hub: LocalHub, etag: str) -> None:
    """
    The cache names files by ETags, so one that could leave the cache is turned away.
    """
    hub.faults.etag = lambda _path, _etag: etag

    with pytest.raises(HubError, match="its ETag is no plain word"):
        machine.download()

    assert not list(machine.cache.glob("models--*"))
    assert machine.outside() == set()


def test_the_etag_of_another_blob_spoils_neither(machine: Machine, hub: LocalHub) -> None:
    """
    A file served under the ETag of a sound blob is refused, and that blob keeps its bytes.
    """
    machine.download(number=1)
    other = (hub.root / REPO / "b--to--c/pickled/config.json").read_bytes()
    hub.put(REPO, f"{EDGE}/config.json", b'{"hidden_size": 4, "num_layers": 2, "more": 1}')
    hub.faults.etag = lambda path, etag: git_sha1(other) if path.endswith("config.json") else etag

    with pytest.raises(CheckpointError, match=f"config.json of {EDGE} differs"):
        machine.download()

    blob = machine.cache / "models--org--heads" / "blobs" / git_sha1(other)
    assert blob.read_bytes() == other
    assert not os.path.lexists(machine.snapshot / "config.json")


def test_a_failed_look_up_does_not_fall_back_on_the_cache(machine: Machine, hub: LocalHub) -> None:
    """
    An old `refs/main` is no answer to where `main` stands now.
    """
    refs = machine.cache / "models--org--heads" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("0" * 40)
    hub.faults.stalled = "/revision/"

    with pytest.raises(HubError) as caught:
        machine.download(timeout_s=0.2)

    assert caught.value.reason == "timeout"


def test_a_transfer_that_was_cut_is_resumed(machine: Machine, hub: LocalHub) -> None:
    """
    What came before the cut is not fetched again, and the whole is right.
    """
    hub.put(REPO, f"{EDGE}/{WEIGHTS}", bytes(range(256)) * 400)
    hub.faults.cuts = [10_000, 30_000]

    machine.download()

    assert hub.ranges == ["bytes=10000-", "bytes=40000-"]
    assert (machine.snapshot / WEIGHTS).read_bytes() == bytes(range(256)) * 400


def test_shifted_bytes_of_a_resumed_transfer_are_caught(machine: Machine, hub: LocalHub) -> None:
    """
    A range answered with other bytes makes a file of the right length and the wrong hash.
    """
    hub.put(REPO, f"{EDGE}/{WEIGHTS}", bytes(range(256)) * 400)
    hub.faults.cuts = [10_000, 1 << 20, 10_000, 1 << 20]
    hub.faults.ranged = lambda content: content[1:] + content[:1]

    with pytest.raises(CheckpointError, match=f"{WEIGHTS} of {EDGE} differs"):
        machine.download()

    assert_not_installed(machine)


@pytest.mark.parametrize(
    "cuts", [[5_000] * 50, list(range(5_000, 100_000, 1_000))], ids=["same-place", "elsewhere"]
)
def test_a_transfer_that_gets_nowhere_ends(machine: Machine, hub: LocalHub, cuts: list[int]) -> None:
    """
    Cut again and again by a server that knows no ranges, it is given up.
    """
    hub.put(REPO, f"{EDGE}/{WEIGHTS}", bytes(range(256)) * 400)
    hub.faults.ranges_ignored = True
    hub.faults.cuts = [*cuts]

    with pytest.raises(HubError) as caught:
        machine.download()

    assert caught.value.reason == "stuck"
    assert_not_installed(machine)


def test_a_resumed_transfer_that_dies_early_loses_nothing(machine: Machine, hub: LocalHub) -> None:
    """
    Many bytes came, then the server forgot ranges and sent few: the next time goes on from the many.
    """
    content = bytes(range(256)) * 400
    hub.put(REPO, f"{EDGE}/{WEIGHTS}", content)
    hub.faults.ranges_ignored = True
    hub.faults.resets = [
        Reset(where="GET /cdn/", after=60_000, times=1),
        Reset(where="GET /cdn/", after=5_000),
    ]
    with pytest.raises(HubError):
        machine.download()
    hub.faults.ranges_ignored, hub.faults.resets, hub.ranges = False, [], []

    machine.download()

    assert hub.ranges == ["bytes=60000-"]
    assert (machine.snapshot / WEIGHTS).read_bytes() == content
