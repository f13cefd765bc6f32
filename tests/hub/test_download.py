"""What a download brings, and what it leaves alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from registry.errors import NotInstalledError
from registry.home import downloaded_lock_path
from registry.hub.download import download
from registry.hub.orders import is_pickled
from registry.lock import lock_folder, read_lock
from registry.records import Head, Source
from registry.verify import verify_head
from tests.hub.conftest import EDGE, REPO, Machine
from tests.hub.server import LocalHub


def test_a_head_comes_whole_and_verifies(machine: Machine, hub: LocalHub) -> None:
    """
    Its files land in the Hub's cache at one commit, recorded, and pass verification.
    """
    report = machine.download()

    commit = hub.commit(REPO)
    assert [(file.path, file.status, file.commit) for file in report.files] == [
        ("config.json", "fetched", commit),
        ("model.safetensors", "fetched", commit),
    ]
    entry = read_lock(downloaded_lock_path()).heads[EDGE]
    assert entry == lock_folder(hub.root / REPO / EDGE, commit=commit)
    place = machine.shelf.head_place(machine.head())
    assert place.folder == machine.snapshot
    assert verify_head(machine.head(), place, entry=entry).ok


def test_the_second_download_makes_no_request(machine: Machine, hub: LocalHub) -> None:
    """
    What is here and as recorded is left alone.
    """
    machine.download()
    hub.requests.clear()

    report = machine.download()

    assert {file.status for file in report.files} == {"here"}
    assert report.moved_bytes == 0
    assert hub.requests == []


def test_a_locked_head_is_fetched_without_a_listing(machine: Machine, hub: LocalHub) -> None:
    """
    A lock tells names, digests and commit, and no second record is made.
    """
    entry = lock_folder(hub.root / REPO / EDGE, commit=hub.commit(REPO))
    machine.lock = machine.lock.with_head(EDGE, entry)

    machine.download()

    assert not [request for request in hub.requests if "/api/" in request]
    assert not downloaded_lock_path().exists()
    hub.requests.clear()
    machine.download()
    assert hub.requests == []


def test_a_dry_run_touches_nothing(machine: Machine) -> None:
    """
    It names files and bytes, and leaves neither cache nor record behind.
    """
    report = machine.download(dry_run=True)

    assert {file.status for file in report.files} == {"would fetch"}
    assert report.moved_bytes == sum(file.size_bytes for file in report.files) > 0
    assert not machine.cache.exists()
    assert not (machine.folder / "state").exists()


def test_a_pickled_head_is_fetched_and_called_a_pickle(machine: Machine) -> None:
    """
    `pytorch_model.bin` without safetensors is brought here, and the report says what it is.
    """
    report = machine.download(number=1)

    assert report.heads[0].pickled
    assert [file.path for file in report.files] == ["config.json", "pytorch_model.bin"]


def test_a_pickle_beside_safetensors_makes_no_pickle_of_a_head(machine: Machine, hub: LocalHub) -> None:
    """
    Trainers leave `training_args.bin`; the weights are safetensors all the same, and so they are called.
    """
    folder = hub.root / REPO / EDGE
    (folder / "training_args.bin").write_bytes(b"a pickle that holds no weights")
    machine.lock = machine.lock.with_head(EDGE, lock_folder(folder, commit=hub.commit(REPO)))

    report = machine.download()

    assert "training_args.bin" in {file.path for file in report.files}
    assert not report.heads[0].pickled


@pytest.mark.parametrize(
    ("names", "pickled"),
    [
        ({"pytorch_model.bin"}, True),
        ({"pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"}, True),
        ({"model.safetensors", "pytorch_model.bin"}, False),
        ({"model-00001-of-00001.safetensors", "training_args.bin"}, False),
    ],
    ids=["one-pickle", "shards", "both", "arguments"],
)
def test_a_model_is_pickled_without_safetensors(names: set[str], pickled: bool) -> None:
    """
    One file or shards of a pickle, and no safetensors beside them.
    """
    assert is_pickled("model", {"config.json", *names}) is pickled


def test_a_download_tells_what_it_was_checked_against(machine: Machine) -> None:
    """
    Without an entry in a lock: the Hub's digests at first, and then the record that was made from them.
    """
    told = [machine.download().heads[0] for _ in range(2)]

    assert [one.checked_against for one in told] == ["hub", "downloaded.lock"]
    assert {one.recorded_in for one in told} == {str(downloaded_lock_path())}


def test_a_model_comes_without_its_duplicates(machine: Machine, hub: LocalHub) -> None:
    """
    Of a model its config, index and safetensors shards are fetched, and no pickle.
    """
    model = machine.catalog.models["a"]

    report = download(machine.shelf, (), [model], endpoint=hub.endpoint, bars=False)

    assert [file.path for file in report.files] == [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    assert not report.models[0].pickled


def test_a_branch_that_moved_stays_where_it_was_recorded(machine: Machine, hub: LocalHub) -> None:
    """
    The record pins the commit: a later push to `main` changes nothing here.
    """
    first = machine.download()
    hub.put(REPO, "README.md", b"news")

    assert machine.download().heads[0].commit == first.heads[0].commit


def test_a_full_commit_in_the_catalog_is_taken_as_it_stands(machine: Machine, hub: LocalHub) -> None:
    """
    A revision of 40 hex digits is not looked up.
    """
    source = Source(hub=REPO, revision=hub.commit(REPO))
    machine.catalog = machine.catalog.model_copy(update={"sources": {"published": source}})

    machine.download()

    assert not [request for request in hub.requests if "/revision/" in request]


def test_a_blob_that_is_here_is_not_fetched_again(machine: Machine, hub: LocalHub) -> None:
    """
    Bytes that the cache holds under another name are linked, not fetched.
    """
    machine.download()
    (machine.snapshot / "model.safetensors").unlink()
    hub.requests.clear()

    machine.download()

    assert not [request for request in hub.requests if request.startswith("GET")]
    assert (machine.snapshot / "model.safetensors").is_file()


def test_a_folder_needs_no_download(machine: Machine, hub: LocalHub, tmp_path: Path) -> None:
    """
    A head outside the Hub is looked for where the catalog says, and no request is made.
    """
    source = Source(path="served/org/heads", base=tmp_path)
    machine.catalog = machine.catalog.model_copy(update={"sources": {"published": source}})

    report = machine.download()

    assert (report.heads[0].source, report.files, hub.requests) == ("folder", (), [])


def test_a_folder_that_is_not_there_is_said(machine: Machine, tmp_path: Path) -> None:
    """
    Nothing can be downloaded in place of a missing folder.
    """
    source = Source(path="nowhere", base=tmp_path)
    machine.catalog = machine.catalog.model_copy(update={"sources": {"published": source}})

    with pytest.raises(NotInstalledError):
        machine.download()


def test_records_of_two_heads_lie_side_by_side(machine: Machine) -> None:
    """
    A second download adds to the record of the first.
    """
    machine.download()
    machine.download(number=1)

    assert set(read_lock(downloaded_lock_path()).heads) == {"a--to--b/run", "b--to--c/pickled"}


def test_progress_is_told_of_every_file(machine: Machine, hub: LocalHub) -> None:
    """
    One call per file, as it is done.
    """
    told: list[tuple[str, str]] = []
    heads: list[Head] = [machine.head()]
    download(
        machine.shelf,
        heads,
        endpoint=hub.endpoint,
        bars=False,
        progress=lambda outcome, file: told.append((outcome.name, file.path)),
    )

    assert sorted(told) == [(EDGE, "config.json"), (EDGE, "model.safetensors")]


def test_a_lock_without_a_commit_is_found_again(machine: Machine, hub: LocalHub) -> None:
    """
    Digests alone pin the bytes; the branch's commit is kept as the client keeps it, and asked for once.
    """
    machine.lock = machine.lock.with_head(EDGE, lock_folder(hub.root / REPO / EDGE))

    machine.download()

    assert machine.shelf.head_place(machine.head()).folder == machine.snapshot
    assert not downloaded_lock_path().exists()
    hub.requests.clear()
    assert machine.download().moved_bytes == 0
    assert hub.requests == []


def test_a_branch_that_another_tool_fetched_earlier_does_not_hide_a_head(
    machine: Machine, hub: LocalHub
) -> None:
    """
    `refs/main` of an older day gives way to what the Hub says now.
    """
    refs = machine.cache / "models--org--heads" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("0" * 40)
    machine.lock = machine.lock.with_head(EDGE, lock_folder(hub.root / REPO / EDGE))

    machine.download()

    assert (refs / "main").read_text() == hub.commit(REPO)
    assert machine.shelf.head_place(machine.head()).folder == machine.snapshot


def test_a_pinned_download_leaves_the_branch_alone(machine: Machine, hub: LocalHub) -> None:
    """
    A commit says nothing of where `main` stands.
    """
    entry = lock_folder(hub.root / REPO / EDGE, commit=hub.commit(REPO))
    machine.lock = machine.lock.with_head(EDGE, entry)

    machine.download()

    assert not (machine.cache / "models--org--heads" / "refs").exists()


def test_the_client_finds_what_was_downloaded(machine: Machine, hub: LocalHub) -> None:
    """
    The cache is as the client lays it out: it takes our files for its own, and sees nothing odd.
    """
    from huggingface_hub import scan_cache_dir, try_to_load_from_cache

    machine.download()

    path = f"{EDGE}/model.safetensors"
    found = try_to_load_from_cache(REPO, path, cache_dir=machine.cache, revision=hub.commit(REPO))
    scan = scan_cache_dir(machine.cache)
    assert found == str(machine.snapshot / "model.safetensors")
    assert (scan.warnings, scan.size_on_disk) == ([], sum(blob.stat().st_size for blob in blobs(machine)))


def blobs(machine: Machine) -> list[Path]:
    """All blobs."""
    return list((machine.cache / "models--org--heads" / "blobs").iterdir())


def test_stamps_spare_the_hash_and_no_more(machine: Machine, hub: LocalHub) -> None:
    """
    A quick download believes a stamp as long as inode, size and times stay; any other hashes.
    """
    machine.download()
    weights = (machine.snapshot / "model.safetensors").resolve()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    before = weights.stat()
    weights.write_bytes(content)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))  # the time of change still tells

    report = download(machine.shelf, [machine.head()], endpoint=hub.endpoint, bars=False, quick=True)

    assert {file.path: file.status for file in report.files}["model.safetensors"] == "fetched"


def test_a_stamp_is_not_believed_by_others(machine: Machine, hub: LocalHub) -> None:
    """
    Even where a stamp says that all is well, a download that is not quick hashes and mends.
    """
    machine.download()
    weights = (machine.snapshot / "model.safetensors").resolve()
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    for stamp in (machine.folder / "state" / "stamps").iterdir():  # as if nothing had told of the change
        content = json.loads(stamp.read_bytes())
        status = Path(content["path"]).stat()
        content["stamp"] = [
            *(status.st_dev, status.st_ino, status.st_size),
            *(status.st_mtime_ns, status.st_ctime_ns),
        ]
        stamp.write_text(json.dumps(content))

    quick = download(machine.shelf, [machine.head()], endpoint=hub.endpoint, bars=False, quick=True)
    whole = machine.download()

    assert (quick.moved_bytes, whole.moved_bytes > 0) == (0, True)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"path": 1}', b"\xff"])
def test_a_stamp_that_cannot_be_read_costs_a_hash(machine: Machine, hub: LocalHub, content: bytes) -> None:
    """
    Stamps may be lost or spoiled at any time.
    """
    machine.download()
    for stamp in (machine.folder / "state" / "stamps").iterdir():
        stamp.write_bytes(content)

    report = download(machine.shelf, [machine.head()], endpoint=hub.endpoint, bars=False, quick=True)

    assert {file.status for file in report.files} == {"here"}
