"""`specreg lock` for heads on the Hub: what the publisher stored, at a commit that stays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from registry.lock import read_lock
from registry.records import FileRecord, LockEntry
from tests.catalogs.conftest import CATALOG, FIRST, REPO
from tests.conftest import Outcome
from tests.hub.server import LocalHub, Refusal

Run = Callable[..., Outcome]
pytestmark = pytest.mark.usefixtures("hub")


def entry_of(hub: LocalHub, name: str) -> LockEntry:
    """The record that a head's folder on the hub should have."""
    folder = hub.root / REPO / name
    files = {}
    for path in folder.iterdir():
        content = path.read_bytes()
        files[path.name] = FileRecord(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    return LockEntry(commit=hub.commit(REPO), files=files)


def locked(own: Path) -> LockEntry:
    """What the lock has of the first head."""
    return read_lock(own.with_suffix(".lock")).heads[FIRST]


def test_every_file_of_a_head_is_recorded_at_its_commit(specreg: Run, hub: LocalHub, own: Path) -> None:
    """
    Weights by the Hub's own digest, small files by their bytes; the weights are not fetched.
    """
    found = specreg("lock", str(own))

    assert (found.code, found.err) == (0, "")
    assert locked(own) == entry_of(hub, FIRST)
    assert not [request for request in hub.requests if request.endswith("model.safetensors")]


def test_the_same_hub_gives_the_same_lock(specreg: Run, own: Path) -> None:
    """
    A second lock is the first, byte for byte, and --check agrees.
    """
    specreg("lock", str(own))
    before = own.with_suffix(".lock").read_bytes()
    own.with_suffix(".lock").unlink()
    specreg("lock", str(own))

    assert own.with_suffix(".lock").read_bytes() == before
    assert specreg("lock", str(own), "--check").code == 0


def test_a_pinned_commit_stays_until_it_is_upgraded(specreg: Run, hub: LocalHub, own: Path) -> None:
    """
    The branch moves on; the lock does when told, and says from where, to where and which files.
    """
    specreg("lock", str(own))
    before = locked(own)
    hub.keep(REPO)
    hub.put(REPO, f"{FIRST}/README.md", b"# better\n")
    hub.put(REPO, f"{FIRST}/notes.md", b"new\n")
    (hub.root / REPO / FIRST / "trainer_state.json").unlink(missing_ok=True)

    assert specreg("lock", str(own)).code == 0
    assert locked(own) == before
    moved = specreg("lock", str(own), "--upgrade")

    assert locked(own) == entry_of(hub, FIRST)
    assert f"commit\t{FIRST}\t{before.commit}\t{hub.commit(REPO)}" in moved.out.splitlines()
    assert f"changed\t{FIRST}/README.md" in moved.out.splitlines()
    assert f"added\t{FIRST}/notes.md" in moved.out.splitlines()
    assert "config.json" not in moved.out


def test_only_the_heads_named_are_upgraded(specreg: Run, hub: LocalHub, own: Path) -> None:
    """
    The others keep the commit that they have.
    """
    own.write_text(
        own.read_text() + "  - {source: middle, target: large, run: exp-weight6-layer2, from: theirs}\n"
    )
    specreg("lock", str(own))
    before = locked(own)
    hub.keep(REPO)
    hub.put(REPO, "README.md", b"# moved\n")

    found = specreg("lock", str(own), "middle--to--large", "--upgrade", "--json")

    lock = read_lock(own.with_suffix(".lock"))
    assert lock.heads[FIRST] == before
    assert lock.heads["middle--to--large/exp-weight6-layer2"].commit == hub.commit(REPO)
    assert json.loads(found.out)["changes"][0]["files"] == []


def test_check_finds_a_lock_that_was_tampered_with(specreg: Run, own: Path) -> None:
    """
    Another digest in the lock than that of what is at the commit ends with 1, and nothing is written.
    """
    specreg("lock", str(own))
    lock = own.with_suffix(".lock")
    lock.write_text(lock.read_text().replace(locked(own).files["README.md"].sha256, "0" * 64))
    before = lock.read_bytes()

    found = specreg("lock", str(own), "--check")

    assert found.code == 1
    assert f"changed\t{FIRST}/README.md" in found.out.splitlines()
    assert lock.read_bytes() == before


def test_a_head_that_was_taken_out_is_dropped(specreg: Run, own: Path) -> None:
    """
    The lock holds what the catalog names, no more; --check says so first.
    """
    specreg("lock", str(own))
    own.write_text(
        "\n".join(
            line for line in own.read_text().splitlines() if "heads:" not in line and "run:" not in line
        )
    )

    assert specreg("lock", str(own), "--check").code == 1
    assert specreg("lock", str(own)).code == 0
    assert FIRST not in read_lock(own.with_suffix(".lock")).heads


def test_models_are_recorded_when_asked_for(specreg: Run, own: Path) -> None:
    """
    --models records what a download of a base model would fetch, and no other weights beside it.
    """
    own.write_text(
        own.read_text().replace("{hub: org/middle, hidden_size: 4}", "{}").replace("{hub: org/large}", "{}")
    )

    assert specreg("lock", str(own), "--models").code == 0

    assert sorted(read_lock(own.with_suffix(".lock")).models["little"].files) == [
        "config.json",
        "model.safetensors",
    ]


def test_a_lost_page_makes_no_smaller_model(specreg: Run, hub: LocalHub, own: Path) -> None:
    """
    Of weights in parts every part has to be listed.
    """
    own.write_text(
        CATALOG.partition("heads:")[0]
        .replace("{hub: org/middle, hidden_size: 4}", "{}")
        .replace("{hub: org/large}", "{}")
    )
    (hub.root / "org" / "little" / "model.safetensors").unlink()
    for part in (1, 2):
        hub.put("org/little", f"model-0000{part}-of-00003.safetensors", b"part")

    found = specreg("lock", str(own), "--models")

    assert found.code == 2
    assert "2 of 3 parts of the weights" in found.err


@pytest.mark.parametrize("option", ["--check", "--upgrade", "--models"])
def test_a_hub_that_cannot_be_asked_ends_with_2(specreg: Run, hub: LocalHub, own: Path, option: str) -> None:
    """
    Nothing is written, and one sentence says why.
    """
    hub.faults.refusals = [Refusal(status=403, code="GatedRepo")]

    found = specreg("lock", str(own), option)

    assert found.code == 2
    assert "gated" in found.err
    assert not own.with_suffix(".lock").exists()


@pytest.mark.parametrize("command", ["lock", "import", "discover"])
def test_offline_is_said_without_a_request(
    specreg: Run, hub: LocalHub, own: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """
    HF_HUB_OFFLINE is named, and the Hub is not asked.
    """
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    arguments = {"lock": (str(own),), "import": (REPO,), "discover": ("--catalog", str(own))}[command]

    found = specreg(command, *arguments)

    assert (found.code, hub.requests) == (2, [])
    assert found.err.count("HF_HUB_OFFLINE") == 1


def test_every_problem_is_told_and_nothing_written(specreg: Run, own: Path) -> None:
    """
    A folder that is not here and a repository that is not there are told together; the sound head is not recorded.
    """
    text = own.read_text().replace("sources:\n", "sources:\n  here: {path: ./none}\n  gone: {hub: no/such}\n")
    for source in ("here", "gone"):
        text += f"  - {{source: little, target: large, run: {source}, from: {source}}}\n"
    own.write_text(text)

    found = specreg("lock", str(own))

    assert found.code == 2
    assert "2 problems; nothing was written" in found.err
    assert "little--to--large/here is not on this machine" in found.err
    assert "no/such" in found.err
    assert not own.with_suffix(".lock").exists()


def test_problems_of_files_are_problems_of_looking(specreg: Run, hub: LocalHub, own: Path) -> None:
    """
    Two heads that cannot be recorded end with 2, --check included: 1 is kept for a lock that differs.
    """
    own.write_text(
        own.read_text() + "  - {source: middle, target: large, run: exp-weight6-layer2, from: theirs}\n"
    )
    hub.faults.rows = lambda rows: [row for row in rows if not row["path"].endswith("config.json")]

    found = specreg("lock", str(own), "--check")

    assert found.code == 2
    assert "2 problems; nothing was written" in found.err


def test_a_revision_that_is_not_there_is_a_fault(specreg: Run, own: Path) -> None:
    """
    The pinned commit would still answer, yet the catalog names a revision that nobody has: said, --check or not.
    """
    specreg("lock", str(own))
    before = own.with_suffix(".lock").read_bytes()
    own.write_text(own.read_text().replace("revision: main", "revision: v2"))

    for options in ((), ("--check",)):
        found = specreg("lock", str(own), *options)

        assert found.code == 2
        assert "has no revision v2" in found.err
    assert own.with_suffix(".lock").read_bytes() == before


def test_a_branch_that_moved_on_is_news(specreg: Run, hub: LocalHub, own: Path) -> None:
    """
    --check tells where the branch stands and where the lock stays, and ends with 0; once upgraded it is silent.
    """
    specreg("lock", str(own))
    before = hub.keep(REPO)
    hub.put(REPO, "README.md", b"# moved\n")
    now = hub.commit(REPO)

    told = specreg("lock", str(own), "--check")
    document = json.loads(specreg("lock", str(own), "--check", "--json").out)

    assert told.code == 0
    assert f"{FIRST}: main stands at {now} now, the lock keeps {before}; --upgrade moves it" in told.out
    assert document["changed"] == []
    assert document["moved"] == [
        {"kind": "head", "name": FIRST, "revision": "main", "commit": before, "stands_at": now}
    ]
    assert specreg("lock", str(own), "--upgrade").code == 0
    assert json.loads(specreg("lock", str(own), "--check", "--json").out)["moved"] == []


def test_a_commit_that_history_lost_is_drift(specreg: Run, hub: LocalHub, own: Path) -> None:
    """
    --check says so in a sentence of its own and ends with 1; the lock stays as it is until --upgrade moves it.
    """
    specreg("lock", str(own))
    before = hub.keep(REPO)
    hub.put(REPO, "README.md", b"# all anew\n")
    hub.faults.history = lambda commits: commits[:1]
    now = hub.commit(REPO)

    told = specreg("lock", str(own), "--check")
    document = json.loads(specreg("lock", str(own), "--check", "--json").out)

    assert told.code == 1
    assert (
        f"{FIRST}: {before} is not in the history of main any more: history was rewritten, or it is of another "
        f"branch; main stands at {now} now; --upgrade moves it"
    ) in told.out.splitlines()
    assert (document["changed"], document["strayed"]) == ([], [FIRST])
    assert (specreg("lock", str(own)).code, locked(own).commit) == (0, before)
    assert specreg("lock", str(own), "--upgrade").code == 0
    assert specreg("lock", str(own), "--check").code == 0


def test_check_looks_at_the_models_that_the_lock_holds(specreg: Run, hub: LocalHub, own: Path) -> None:
    """
    A model's digest that was tampered with is found without --models; models without a record are not asked for.
    """
    own.write_text(own.read_text().replace("{hub: org/large}", "{hub: org/not-there}"))
    specreg("lock", str(own), "little", FIRST)
    lock = own.with_suffix(".lock")
    assert specreg("lock", str(own), "--check").code == 0
    digest = read_lock(lock).models["little"].files["model.safetensors"].sha256
    lock.write_text(lock.read_text().replace(digest, "0" * 64))

    found = specreg("lock", str(own), "--check")

    assert found.code == 1
    assert "changed\tlittle/model.safetensors" in found.out.splitlines()
    assert not [request for request in hub.requests if "not-there" in request]


def test_local_asks_nobody(specreg: Run, hub: LocalHub, own: Path) -> None:
    """
    With --local an entry of the Hub stays as it is, and no request is made.
    """
    specreg("lock", str(own))
    before = locked(own)
    own.write_text(own.read_text().replace("revision: main", "revision: v2"))
    hub.requests.clear()

    assert specreg("lock", str(own), "--local").code == 0
    assert specreg("lock", str(own), "--local", "--check").code == 0
    assert (locked(own), hub.requests) == (before, [])


@pytest.mark.parametrize("times", [1, 2])
def test_a_small_file_that_came_wrong_is_not_recorded(
    specreg: Run, hub: LocalHub, own: Path, times: int
) -> None:
    """
    Bytes that are not what the listing says end with 2: a lock never holds the digest of a bad transfer.
    """
    hub.faults.body = lambda path, content: content[::-1] if path.endswith("README.md") and times else content

    found = specreg("lock", str(own))

    assert found.code == 2
    assert "is not what the Hub's listing says" in found.err
    assert not own.with_suffix(".lock").exists()


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_listing_without_what_a_head_must_have_is_not_recorded(
    specreg: Run, hub: LocalHub, own: Path, missing: str
) -> None:
    """
    A page of the listing that was lost makes no smaller head.
    """
    hub.faults.rows = lambda rows: [row for row in rows if not row["path"].endswith(missing)]

    found = specreg("lock", str(own))

    assert found.code == 2
    assert missing in found.err
    assert not own.with_suffix(".lock").exists()


@pytest.mark.parametrize("name", ["../config.json", "a\\b", "x\n", "C:x"])
def test_a_hostile_name_in_a_listing_is_not_recorded(
    specreg: Run, hub: LocalHub, own: Path, name: str
) -> None:
    """
    Names of a listing that do not stay in their folder are refused before anything is fetched.
    """
    hub.faults.rows = lambda rows: [*rows, {**rows[0], "path": f"{FIRST}/{name}"}]

    found = specreg("lock", str(own))

    assert found.code == 2
    assert "not safe on every system" in found.err
    assert not [request for request in hub.requests if "/resolve/" in request]


def test_a_lock_beside_a_users_catalog_is_the_one_that_is_used(
    specreg: Run, hub: LocalHub, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    With SPECREG_CATALOG, `show` tells the commit and digests of the lock beside that file, and `list` says recorded.
    """
    specreg("lock", str(own))
    monkeypatch.setenv("SPECREG_CATALOG", str(own))

    shown = json.loads(specreg("show", FIRST, "--json").out)["heads"][0]
    listed = {
        row["head"]: row["recorded"] for row in json.loads(specreg("list", "--heads", "--json").out)["heads"]
    }

    assert shown["commit"] == hub.commit(REPO)
    assert {row["path"]: row["sha256"] for row in shown["files"]} == {
        name: record.sha256 for name, record in entry_of(hub, FIRST).files.items()
    }
    assert listed[FIRST] is True
