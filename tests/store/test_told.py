"""What `list`, `show` and `store` tell of verifications, and when they tell it no longer."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from registry.errors import StoreError
from registry.home import downloaded_lock_path
from registry.lock import Lock, write_lock
from registry.records import Head, LockEntry
from registry.shelf import Shelf
from registry.store.remembering import note_download, note_verification
from registry.store.store import Store
from tests.conftest import Outcome
from tests.registry.stored import write_head
from tests.store.conftest import HEAD
from tests.store.reports import faulty
from tests.store.test_store import downloaded

Run = Callable[..., Outcome]
MINE = """
version: 1
sources: {mine: {path: .}}
models: {a: {}, b: {}}
heads: [{source: a, target: b, run: mine, from: mine}]
"""


def listed(specreg: Run) -> dict[str, Any]:
    """The head's row in `list --json`."""
    rows = json.loads(specreg("list", "--heads", "--json").out)["heads"]
    found: dict[str, Any] = next(row for row in rows if row["head"] == HEAD)
    return found


def here(specreg: Run) -> str:
    """The same row's word for people."""
    lines = specreg("list", "--heads").out.splitlines()
    return next(line.split("\t")[1] for line in lines if line.startswith(HEAD))


def verify(shelf: Shelf, head: Head) -> datetime:
    """Verify it and remember that; when the reading began."""
    began = datetime.now(UTC)
    assert note_verification([shelf.verify_head(head)], shelf, checked_at=began) is None
    return began


def test_without_a_store_nothing_is_said_of_verifications(
    specreg: Run, folder: Path, store_file: Path
) -> None:
    """
    Installed is all that is known, and looking makes no store.
    """
    del folder

    assert here(specreg) == "installed"
    assert listed(specreg)["verified"] is None
    assert listed(specreg)["verification_ok"] is None
    assert not store_file.parent.exists()


def test_a_sound_head_is_verified_with_the_time(specreg: Run, shelf: Shelf, head: Head) -> None:
    """
    `list` and `show` tell when, as text and as JSON.
    """
    began = verify(shelf, head)

    assert here(specreg) == f"verified {began:%Y-%m-%d %H:%M} UTC"
    assert datetime.fromisoformat(listed(specreg)["verified"]) == began
    assert listed(specreg)["verification_ok"] is True
    assert f"installed\tverified {began:%Y-%m-%d %H:%M} UTC" in specreg("show", HEAD).out
    document = json.loads(specreg("show", HEAD, "--json").out)["heads"][0]
    assert (document["installed"], document["verification_ok"]) == (True, True)


def test_a_model_is_told_of_too(specreg: Run) -> None:
    """
    Models have their own verifications.
    """
    shelf, began = Shelf.open(), datetime.now(UTC)
    report = shelf.verify_model(shelf.catalog.models["pico-draft"])
    assert note_verification([report], shelf, checked_at=began) is None

    rows = json.loads(specreg("list", "--models", "--json").out)["models"]

    assert [row["model"] for row in rows if row["verified"]] == ["pico-draft"]
    assert "installed\tverified" in specreg("show", "pico-draft").out


def test_the_last_verification_counts(specreg: Run, shelf: Shelf, head: Head, folder: Path) -> None:
    """
    Sound, then faulty: faulty it is.
    """
    verify(shelf, head)
    (folder / "config.json").write_text("{}\n")
    began = verify(shelf, head)

    assert here(specreg) == f"faulty {began:%Y-%m-%d %H:%M} UTC"
    assert listed(specreg)["verification_ok"] is False


def overwrite(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"changed")


def swap_for_an_older_file(folder: Path) -> None:
    other = folder.parent.parent / "other"
    other.write_bytes(b"older")
    os.utime(other, (1, 1))
    other.replace(folder / "model.safetensors")


def set_back(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"changed")
    os.utime(folder / "model.safetensors", (1, 1))
    os.utime(folder, (1, 1))


def add(folder: Path) -> None:
    (folder / "extra.bin").touch()


def take_away(folder: Path) -> None:
    (folder / "config.json").unlink()


@pytest.mark.parametrize("change", [overwrite, swap_for_an_older_file, set_back, add, take_away])
def test_what_changed_since_is_not_called_verified(
    change: Callable[[Path], None], specreg: Run, shelf: Shelf, head: Head, folder: Path
) -> None:
    """
    A file changed, swapped for an older one, set back in time, added or taken away: installed is all that is known.
    """
    verify(shelf, head)
    assert listed(specreg)["verification_ok"] is True
    time.sleep(0.02)  # a file's time is as fine as the system's clock tick

    change(folder)

    assert here(specreg) == "installed"
    assert listed(specreg)["verified"] is None


def test_a_change_while_it_was_read_makes_it_unverified(
    specreg: Run, shelf: Shelf, head: Head, folder: Path
) -> None:
    """
    What counts is when the reading began, not when its outcome was kept.
    """
    time.sleep(0.02)
    began = datetime.now(UTC)
    report = shelf.verify_head(head)
    time.sleep(0.02)
    (folder / "model.safetensors").write_bytes(b"changed meanwhile")
    assert note_verification([report], shelf, checked_at=began) is None

    assert here(specreg) == "installed"


def test_another_folder_is_another_matter(
    specreg: Run, shelf: Shelf, head: Head, folder: Path, tmp_path: Path
) -> None:
    """
    The same name, found elsewhere by another catalog, was not verified there.
    """
    verify(shelf, head)
    shutil.copytree(folder, tmp_path / "elsewhere" / HEAD)
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(catalog.read_text().replace("./mine", "./elsewhere"))

    assert here(specreg) == "installed"


def test_another_commit_is_another_matter(shelf: Shelf, head: Head, specreg: Run) -> None:
    """
    A verification of another commit says nothing of this one.
    """
    import sqlite3

    verify(shelf, head)
    with Store.open() as store:
        path = store.shown
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE specreg_verification SET commit_sha = ?", ("0" * 40,))
    connection.close()

    assert here(specreg) == "installed"


def test_history_tells_every_verification_the_latest_first(
    specreg: Run, shelf: Shelf, head: Head, folder: Path
) -> None:
    """
    Of one head by its edge, of all without a name; faults stand beside the outcome.
    """
    verify(shelf, head)
    (folder / "config.json").write_text("{}\n")
    verify(shelf, head)

    rows = json.loads(specreg("store", "history", "pico-little--to--pico-draft", "--json").out)[
        "verifications"
    ]

    assert [row["ok"] for row in rows] == [False, True]
    assert any("config.json" in fault for fault in rows[0]["faults"])
    assert json.loads(specreg("store", "history", "pico-target", "--json").out) == {"verifications": []}
    assert len(specreg("store", "history").out.splitlines()) == 3
    assert len(specreg("store", "history", "--limit", "1").out.splitlines()) == 2


def test_history_outlives_the_catalog(specreg: Run, shelf: Shelf) -> None:
    """
    A name that no catalog has any more still has its history; one that never was has none.
    """
    with Store.open() as store:
        store.remember_verification([faulty("old", head="a--to--b/gone")], shelf)

    rows = json.loads(specreg("store", "history", "a--to--b/gone", "--json").out)["verifications"]

    assert [(row["name"], row["folder"]) for row in rows] == [("a--to--b/gone", None)]
    assert specreg("store", "history", "no-such-model").code == 1


def test_store_commands_tell_what_there_is(specreg: Run, shelf: Shelf, head: Head, store_file: Path) -> None:
    """
    Path, schema and counts, before there is a store, with one, and after `rebuild`.
    """
    before = json.loads(specreg("store", "show", "--json").out)
    assert before == {
        "store": str(store_file),
        "schema": None,
        "checkpoints": 0,
        "files": 0,
        "verifications": 0,
        "measurements": 0,
        "setups": [],
    }
    assert specreg("store", "history").out == "No verification yet: `specreg verify` writes one.\n"
    verify(shelf, head)

    rebuilt = json.loads(specreg("store", "rebuild", "--json").out)
    shown = json.loads(specreg("store", "show", "--json").out)

    assert rebuilt["set_aside"] is None
    assert rebuilt["checkpoints"] == shown["checkpoints"] > 1
    assert (shown["schema"], shown["verifications"]) == ("0003", 1)


def test_rebuild_says_where_a_damaged_store_went(specreg: Run, folder: Path, store_file: Path) -> None:
    """
    A person reads the name of the file that was set aside.
    """
    del folder
    store_file.parent.mkdir(parents=True)
    store_file.write_text("no database at all, but longer than nothing\n" * 100)

    assert specreg("store", "show").code == 2
    found = specreg("store", "rebuild")

    (aside,) = store_file.parent.glob("store.db.bad-*")
    assert f"The damaged store was set aside: {aside}" in found.out


def test_rebuild_says_what_it_leaves_out(specreg: Run, tmp_path: Path) -> None:
    """
    What the store or the record of downloads has, and no catalog that was read names; with its catalog it is there.
    """
    write_head(tmp_path / "a--to--b" / "mine")
    mine = tmp_path / "mine.yaml"
    mine.write_text(MINE)
    specreg("verify", "--catalog", str(mine))
    record = Lock().with_head("c--to--d/theirs", LockEntry(commit="0" * 40, files={}))
    write_lock(record, downloaded_lock_path())

    without = specreg("store", "rebuild")
    within = json.loads(specreg("store", "rebuild", "--catalog", str(mine), "--json").out)

    assert without.code == 0
    assert "2 checkpoints were left out" in without.err
    assert "a--to--b/mine, c--to--d/theirs. `specreg store rebuild --catalog FILE`" in without.err
    assert within["left_out"] == ["c--to--d/theirs"]
    assert "a--to--b/mine" in {one.name for one in Store.open().checkpoints()}


def test_a_second_download_of_what_is_known_writes_nothing(
    shelf: Shelf, folder: Path, store_file: Path
) -> None:
    """
    Where all was here and the store knows it, the store is not even opened to write.
    """
    assert note_download(downloaded(folder), shelf) is None
    before = store_file.stat().st_mtime_ns, Store.open().checkpoints()

    assert note_download(downloaded(folder, status="here"), shelf) is None

    assert (store_file.stat().st_mtime_ns, Store.open().checkpoints()) == before
    store_file.unlink()
    assert note_download(downloaded(folder, status="here"), shelf) is None
    with Store.open() as store:
        assert len(store.checkpoints()) == 1


AWKWARD = st.text(st.sampled_from("@/?#:[]%&= a1_"), max_size=4)


@settings(max_examples=60)
@given(before=AWKWARD, between=AWKWARD, after=AWKWARD, database=st.sampled_from(["db", "db?sslmode=disable"]))
@example(before="", between="/", after="#pw", database="db")
@example(before="top@", between="", after="pw", database="db")
@example(before="", between="?", after="=x", database="db")
@example(before="[", between="]@[", after="", database="db?password=a@sekret")
def test_no_message_repeats_an_awkward_password(before: str, between: str, after: str, database: str) -> None:
    """
    Whatever stands in the password, and however the driver takes the URL apart, no word of it is told.
    """
    url = f"postgresql://me:{before}sekret{between}geheim{after}@127.0.0.1:1/{database}"

    with pytest.raises(StoreError) as caught:
        Store.open(url)

    for word in ("sekret", "geheim"):
        assert word not in f"{caught.value} {caught.value.store}"
    assert caught.value.exit_code == 2


def test_what_the_driver_says_is_told_where_it_holds_no_secret() -> None:
    """
    Of a plain URL host, database and reason are shown; user name, password and options are not.
    """
    with pytest.raises(StoreError) as caught:
        Store.open("postgresql://somebody:sekret@127.0.0.1:1/team?sslmode=disable")

    assert "The store postgresql://127.0.0.1:1/team cannot be reached" in str(caught.value)
    assert "refused" in str(caught.value)
    assert "somebody" not in caught.value.store
