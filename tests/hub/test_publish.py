"""Publishing heads to a hub on this machine, with the real client."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.card import head_card
from registry.errors import CheckpointError, HubError, NotInstalledError, UsageError
from registry.hub import wire
from tests.hub.own import NAME, REPO, Own
from tests.hub.server import LocalHub, Refusal, Reset
from tests.hub.uploads import GIT_ATTRIBUTES, READER, WRITER
from tests.registry.stored import flip_bit

PICKLE = b"\x80\x04."


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    """A hub with an empty repository."""
    with LocalHub(tmp_path / "served") as served:
        served.put(REPO, ".gitattributes", GIT_ATTRIBUTES)
        yield served


@pytest.fixture
def own(tmp_path: Path, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> Own:
    """A head and a token that may write."""
    monkeypatch.setenv("HF_TOKEN", WRITER)
    monkeypatch.setattr(wire, "BACKOFF_S", (0.01, 0.01, 0.01))
    return Own(tmp_path, hub)


def test_a_head_is_published_in_one_commit(own: Own, hub: LocalHub) -> None:
    """
    Its files lie in the published layout with the very bytes that are here, a card beside them and one at the top.
    """
    before = hub.commit(REPO)

    done = own.publish()

    there = own.there()
    assert done.status == "published"
    assert done.url == f"{hub.endpoint}/{REPO}/commit/{done.commit}"
    assert set(there) == {".gitattributes", "README.md", f"{NAME}/README.md"} | {
        f"{NAME}/{name}" for name in ("config.json", "model.safetensors", "trainer_state.json")
    }
    for name in ("config.json", "model.safetensors", "trainer_state.json"):
        assert there[f"{NAME}/{name}"] == (own.head / name).read_bytes()
    assert [(one["parentCommit"], one["commit"]) for one in hub.uploads.commits] == [(before, done.commit)]
    assert {file.sha256 for file in done.files} == {
        hashlib.sha256(content).hexdigest() for path, content in there.items() if path != ".gitattributes"
    }


def test_the_card_names_base_models_and_repository(own: Own) -> None:
    """
    The card of the head has the metadata that the Hub reads, its figures, and commands with the repository's name.
    """
    own.publish()

    for card in (own.there()[f"{NAME}/README.md"].decode(), own.there()["README.md"].decode()):
        assert card.startswith(
            "---\nlicense: mit\nlibrary_name: specreg\nbase_model:\n- org/model-a\n- org/model-b\n"
        )
        assert f"specreg import {REPO} " in card
    assert "| steps | 3 |" in own.there()[f"{NAME}/README.md"].decode()


def test_the_same_head_once_more_makes_no_commit(own: Own, hub: LocalHub) -> None:
    """
    What lies there with the same bytes is said to be there, and nothing is sent.
    """
    first = own.publish()
    hub.requests.clear()

    second = own.publish()

    assert (second.status, second.commit) == ("already there", first.commit)
    assert second.url == f"{hub.endpoint}/{REPO}/tree/{first.commit}/{NAME}"
    assert {file.status for file in second.files} == {"the same"}
    assert own.written() == []


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "trainer_state.json", "pytorch_model.bin"]
)
def test_other_bytes_of_the_same_run_are_left_alone(own: Own, hub: LocalHub, name: str) -> None:
    """
    A run that is there with other bytes, or as a pickle, is refused by the file's name before anything is sent.
    """
    hub.put(REPO, f"{NAME}/{name}", PICKLE)

    with pytest.raises(UsageError, match=f"other bytes: {name}.*--replace"):
        own.publish()

    assert own.written() == []


def test_replacing_leaves_nothing_of_the_earlier_head(own: Own, hub: LocalHub) -> None:
    """
    With `replace` the files give way, those that the new head lacks go, and what is none of a head's stays.
    """
    for name in ("config.json", "evaluation.json", "pytorch_model.bin", "README.md", "notes.txt"):
        hub.put(REPO, f"{NAME}/{name}", b"earlier")

    done = own.publish(replace=True)

    status = {file.path.removeprefix(f"{NAME}/"): file.status for file in done.files}
    assert status["evaluation.json"] == status["pytorch_model.bin"] == "removed"
    assert status["config.json"] == "replaced"
    there = own.there()
    assert f"{NAME}/evaluation.json" not in there
    assert f"{NAME}/pytorch_model.bin" not in there
    assert there[f"{NAME}/notes.txt"] == b"earlier"
    assert there[f"{NAME}/README.md"] != b"earlier"
    assert hub.uploads.commits[0]["summary"] == f"Replace head {NAME}"


def test_a_card_alone_is_no_reason_for_a_commit(own: Own, hub: LocalHub) -> None:
    """
    A head that is there without a card is there; its card comes where a commit is asked for by `replace`.
    """
    for name in ("config.json", "model.safetensors", "trainer_state.json"):
        hub.put(REPO, f"{NAME}/{name}", (own.head / name).read_bytes())

    assert own.publish().status == "already there"
    assert hub.uploads.commits == []

    own.publish(replace=True)

    assert hub.uploads.commits[0]["paths"] == ["README.md", f"{NAME}/README.md"]


def test_what_is_lacking_there_is_added(own: Own, hub: LocalHub) -> None:
    """
    A head of which some files are there with the same bytes gets the others.
    """
    hub.put(REPO, f"{NAME}/config.json", (own.head / "config.json").read_bytes())

    done = own.publish()

    status = {file.path: file.status for file in done.files}
    assert status[f"{NAME}/config.json"] == "the same"
    assert status[f"{NAME}/model.safetensors"] == "added"
    assert f"{NAME}/config.json" not in hub.uploads.commits[0]["paths"]


def test_cards_that_are_there_stay(own: Own, hub: LocalHub) -> None:
    """
    Neither the card of the head nor that of the repository is written over; what the latter lacks is told.
    """
    hub.put(REPO, "README.md", b"---\nbase_model: org/model-a\n---\nours")
    hub.put(REPO, f"{NAME}/README.md", b"also ours")

    done = own.publish()

    assert own.there()["README.md"].endswith(b"ours")
    assert own.there()[f"{NAME}/README.md"] == b"also ours"
    assert {file.path: file.status for file in done.files}[f"{NAME}/README.md"] == "kept"
    assert "- org/model-b" in done.notes[0]
    assert "- org/model-a" not in done.notes[0]


def test_a_recorded_card_is_sent_as_it_is(own: Own) -> None:
    """
    A card that is part of the record is one of the head's files.
    """
    own.write("README.md", b"written by its maker")
    own.record()

    own.publish()

    assert own.there()[f"{NAME}/README.md"] == b"written by its maker"


def test_a_card_made_by_training_gets_the_repositorys_name(own: Own) -> None:
    """
    A recorded card whose commands have no repository yet is sent with its name.
    """
    publication = own.prepare()
    blank = head_card(
        source=publication.source,
        target=publication.target,
        head=publication.head,
        config={"hidden_size": 4, "num_layers": 2},
        training=None,
        evaluation=None,
        calibration=None,
    )
    own.write("README.md", blank.encode())
    own.record()

    own.publish()

    assert f"specreg import {REPO} ".encode() in own.there()[f"{NAME}/README.md"]


def test_a_calibration_goes_along(own: Own) -> None:
    """
    A recorded calibration.json is sent, and its figures stand in the card.
    """
    own.write("calibration.json", b'{"scale": 1.25, "bias": 1.75}')
    own.record()

    own.publish()

    assert own.there()[f"{NAME}/calibration.json"] == b'{"scale": 1.25, "bias": 1.75}'
    assert b"scale 1.25, bias 1.75" in own.there()[f"{NAME}/README.md"]


def test_nothing_but_the_files_of_a_head_is_sent(own: Own) -> None:
    """
    Work folders and other programs' files stay here, though they are recorded.
    """
    for name in ("training_args.bin", "optimizer.pt", "notes.txt"):
        own.write(name, PICKLE)
    own.record()

    publication = own.prepare()
    own.publish(publication)

    assert publication.left_out == ("notes.txt", "optimizer.pt", "training_args.bin")
    assert not any(content == PICKLE for content in own.there().values())


def test_the_bytes_that_were_verified_are_sent(own: Own) -> None:
    """
    A file that changes after it was verified is sent as it was then.
    """
    verified = (own.head / "model.safetensors").read_bytes()
    publication = own.prepare()
    own.write("model.safetensors", flip_bit(verified, len(verified) * 8 - 1))

    own.publish(publication)

    assert own.there()[f"{NAME}/model.safetensors"] == verified


def test_a_changed_file_is_refused(own: Own) -> None:
    """
    What `verify` finds fault with is not published, and the fault is named.
    """
    weights = (own.head / "model.safetensors").read_bytes()
    own.write("model.safetensors", flip_bit(weights, len(weights) * 8 - 1))

    with pytest.raises(
        CheckpointError, match=r"cannot be published: model\.safetensors: expected sha256"
    ) as caught:
        own.prepare()

    assert f"specreg verify {NAME}" in str(caught.value)


def test_a_head_that_does_not_fit_its_model_is_refused(own: Own) -> None:
    """
    A recorded head whose hidden size is not its source's fails a check, and is not published.
    """
    own.catalog.write_text(own.catalog.read_text().replace("hidden_size: 4", "hidden_size: 8"))

    with pytest.raises(CheckpointError, match="hidden_size: expected"):
        own.prepare()


def test_a_pickled_head_is_refused(own: Own) -> None:
    """
    A head stored as a pickle is refused, recorded or not, with the command that converts it.
    """
    (own.head / "model.safetensors").unlink()
    own.write("pytorch_model.bin", PICKLE)
    own.record()

    with pytest.raises(CheckpointError, match=f"a pickle.*specreg convert {NAME} --out FOLDER"):
        own.prepare()


def test_a_head_without_a_record_is_refused(own: Own) -> None:
    """
    What has no digests to hold it against is refused, with the command that records it.
    """
    own.catalog.with_suffix(".lock").unlink()

    with pytest.raises(CheckpointError, match=r"no recorded digests.*specreg lock CATALOG"):
        own.prepare()


def test_a_head_that_is_not_here_is_refused(own: Own) -> None:
    """
    A head whose folder is missing is said to be missing.
    """
    with pytest.raises(NotInstalledError):
        own.prepare("a--to--b/other")


def test_an_edge_with_several_runs_is_no_head(own: Own) -> None:
    """
    A name that calls two heads is refused, and both are named.
    """
    with pytest.raises(
        UsageError, match=r"2 heads, expected one: say which of a--to--b/mine, a--to--b/other"
    ):
        own.prepare("a--to--b")


def test_a_pull_request_leaves_main_as_it_is(
    own: Own, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Whoever may only read proposes the head: main stays, and the address is that of the pull request.
    """
    monkeypatch.setenv("HF_TOKEN", READER)
    before = hub.commit(REPO)

    done = own.publish(pull_request=True)

    assert (done.status, done.pull_request) == ("proposed", 1)
    assert done.url == f"{hub.endpoint}/{REPO}/discussions/1"
    assert hub.commit(REPO) == before
    assert (
        own.there(done.commit)[f"{NAME}/model.safetensors"] == (own.head / "model.safetensors").read_bytes()
    )


def test_somebody_elses_commit_is_not_lost(own: Own, hub: LocalHub) -> None:
    """
    Where main has moved on since it was looked at, it is looked at anew, and both commits stand.
    """

    def once() -> None:
        hub.put(REPO, "theirs.txt", b"theirs")
        hub.uploads.meanwhile = lambda: None

    hub.uploads.meanwhile = once

    done = own.publish()

    assert done.status == "published"
    assert own.there()["theirs.txt"] == b"theirs"
    assert sum("/commit/" in line for line in own.written()) == 2
    assert len(hub.uploads.commits) == 1


def test_the_same_head_from_somebody_else_meanwhile_is_there(own: Own, hub: LocalHub) -> None:
    """
    Where somebody else has published these very bytes meanwhile, they are said to be there.
    """
    files = own.prepare().files

    def meanwhile() -> None:
        for name, content in files.items():
            hub.put(REPO, f"{NAME}/{name}", content)

    hub.uploads.meanwhile = meanwhile

    assert own.publish().status == "already there"
    assert hub.uploads.commits == []


def test_another_head_of_that_run_meanwhile_is_not_written_over(own: Own, hub: LocalHub) -> None:
    """
    Where somebody else has published other bytes of that run meanwhile, they stay.
    """
    hub.uploads.meanwhile = lambda: hub.put(REPO, f"{NAME}/config.json", b"theirs")

    with pytest.raises(UsageError, match=r"other bytes: config\.json"):
        own.publish()

    assert own.there()[f"{NAME}/config.json"] == b"theirs"


def test_a_branch_that_never_rests_is_given_up(own: Own, hub: LocalHub) -> None:
    """
    Where main moves on at every try, it ends with a word on it, and nothing is committed.
    """
    counts = iter(range(100))
    hub.uploads.meanwhile = lambda: hub.put(REPO, "theirs.txt", str(next(counts)).encode())

    with pytest.raises(HubError, match=r"moved on at every try.*--pull-request") as caught:
        own.publish()

    assert caught.value.reason == "busy"
    assert hub.uploads.commits == []


def test_a_commit_whose_answer_is_lost_is_found(own: Own, hub: LocalHub) -> None:
    """
    A commit that was made while the connection broke is made once, and told.
    """
    hub.uploads.answers_lost = 1

    done = own.publish()

    assert len(hub.uploads.commits) == 1
    assert (done.status, done.commit) == ("published", hub.uploads.commits[0]["commit"])
    assert done.notes == ("the Hub's answer to the commit was lost, and the files are there",)


def test_a_pull_request_whose_answer_is_lost_is_not_opened_twice(own: Own, hub: LocalHub) -> None:
    """
    Whether a pull request was opened cannot be seen, so it ends with where to look.
    """
    hub.uploads.answers_lost = 1

    with pytest.raises(HubError, match=f"may be open all the same: look at .*{REPO}/discussions"):
        own.publish(pull_request=True)

    assert hub.uploads.pull_requests == 1


@pytest.mark.parametrize(
    "fault",
    [
        Reset(where="PUT /storage/", times=1),
        Refusal(status=500, where="/storage/", times=2),
        Refusal(status=403, where="/storage/", times=1),
        Refusal(status=503, where="/commit/", times=1),
        Refusal(status=429, where="/commit/", times=1),
        Refusal(status=502, where="/preupload/", times=2),
    ],
    ids=["reset", "storage fails", "old signature", "commit busy", "too many", "before"],
)
def test_what_passes_is_tried_again(own: Own, hub: LocalHub, fault: Reset | Refusal) -> None:
    """
    A body that did not arrive, and a Hub that fails for a moment, keep no head from being published whole.
    """
    if isinstance(fault, Reset):
        hub.faults.resets.append(fault)
    else:
        hub.faults.refusals.append(fault)

    done = own.publish()

    assert done.status == "published"
    assert len(hub.uploads.commits) == 1
    assert own.there()[f"{NAME}/model.safetensors"] == (own.head / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Refusal(status=401), "does not accept the token.*hf auth login"),
        (Refusal(status=403, where="/commit/"), "forbids to write to me/heads.*--pull-request"),
        (Refusal(status=403, where="/preupload/"), "forbids to write to me/heads"),
        (Refusal(status=404), "no repository me/heads.*--create"),
        (Refusal(status=413, where="/commit/"), r"refuses what was sent for me/heads \(status 413\)"),
        (Refusal(status=429, headers={"Retry-After": "100"}), "429.*asks to wait 100 s"),
        (Refusal(status=500, where="/commit/"), r"failed when me/heads was written to \(status 500\)"),
        (Refusal(status=503, where="/storage/"), r"failed when me/heads was written to \(status 503\)"),
    ],
    ids=["401", "403", "403 before", "404", "413", "429", "500", "503"],
)
def test_each_refusal_has_its_sentence(own: Own, hub: LocalHub, fault: Refusal, said: str) -> None:
    """
    What the Hub refuses is told with what to do, and never with the token.
    """
    hub.faults.refusals.append(fault)

    with pytest.raises(HubError, match=said) as caught:
        own.publish()

    assert WRITER not in str(caught.value)
    assert hub.uploads.commits == []


def test_a_hub_that_says_nothing_is_given_up(own: Own, hub: LocalHub) -> None:
    """
    A commit without an answer ends after the time-out.
    """
    hub.faults.stalled = "/commit/"

    with pytest.raises(HubError, match=r"nothing for 0\.3 s when me/heads was written to"):
        own.publish(timeout_s=0.3)


def test_a_renamed_repository_is_told(own: Own, hub: LocalHub) -> None:
    """
    A repository that moved is not followed: its new name is told.
    """
    hub.faults.moved = {REPO: "me/renamed"}
    hub.put("me/renamed", ".gitattributes", GIT_ATTRIBUTES)

    with pytest.raises(HubError, match=r"moved to me/renamed\. Give that name to --repo"):
        own.publish()

    assert own.written() == []


@pytest.mark.parametrize(
    ("where", "answer"),
    [
        ("/preupload/", []),
        ("/preupload/", {"files": [{"path": "x", "uploadMode": "regular"}]}),
        ("/objects/batch", {"objects": [{"oid": 3}]}),
        (
            "/objects/batch",
            {"objects": [{"oid": "0", "size": 1, "error": {"code": 1, "message": "their words"}}]},
        ),
        ("/commit/", {"commitOid": "their words"}),
        ("/commit/", {"commitOid": "../x", "commitUrl": "http://x/me/heads/commit/x"}),
    ],
)
def test_answers_that_make_no_sense_are_told(own: Own, hub: LocalHub, where: str, answer: object) -> None:
    """
    What does not answer as the Hub does ends in a sentence that quotes nothing of it.
    """
    hub.uploads.answers[where] = answer

    with pytest.raises(HubError, match="does not answer as the Hub does") as caught:
        own.publish()

    assert "their words" not in str(caught.value)


def test_the_token_goes_to_the_hub_alone(own: Own, hub: LocalHub) -> None:
    """
    Storage under another name gets the file's bytes and no token.
    """
    own.publish()

    elsewhere = [token for host, token in hub.tokens if host.startswith("localhost")]
    assert elsewhere == [None]
    assert all(token == f"Bearer {WRITER}" for host, token in hub.tokens if host.startswith("127."))


def test_without_a_token_nothing_is_asked(own: Own, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A machine without a token is told how to get one.
    """
    monkeypatch.delenv("HF_TOKEN")

    with pytest.raises(HubError, match=r"needs a token.*`hf auth login`") as caught:
        own.publish()

    assert caught.value.reason == "token"
    assert hub.requests == []


def test_a_large_file_goes_in_parts_where_the_hub_wants_it(own: Own, hub: LocalHub) -> None:
    """
    A file that the Hub asks for in parts arrives whole.
    """
    hub.uploads.part_bytes = 100

    own.publish()

    assert sum(line.startswith("PUT") for line in own.written()) > 2
    assert own.there()[f"{NAME}/model.safetensors"] == (own.head / "model.safetensors").read_bytes()


def test_what_the_repository_ignores_is_told(own: Own, hub: LocalHub) -> None:
    """
    The client leaves ignored files out without a word: here nothing is committed.
    """
    hub.uploads.ignored = ("*.safetensors",)

    with pytest.raises(UsageError, match=rf"\.gitignore of {REPO} leaves out {NAME}/model\.safetensors"):
        own.publish()

    assert hub.uploads.commits == []


def test_a_commit_that_holds_other_bytes_is_told(own: Own, hub: LocalHub) -> None:
    """
    What was committed is held against what was sent, by the Hub's own listing.
    """
    hub.uploads.spoilt = lambda content: content[:-1] + bytes([content[-1] ^ 1])

    with pytest.raises(CheckpointError, match=r"does not hold what was sent.*model\.safetensors"):
        own.publish()


def test_a_repository_is_made_when_asked(own: Own, hub: LocalHub) -> None:
    """
    Only with `create` is a repository made, private where that is asked for, and no second time.
    """
    (hub.root / REPO / ".gitattributes").unlink()
    (hub.root / REPO).rmdir()
    with pytest.raises(HubError, match="no repository me/heads"):
        own.publish()

    first = own.publish(create=True, private=True)
    second = own.publish(create=True, private=True)

    assert (first.created, second.created) == (True, False)
    assert hub.uploads.private == {REPO}
    assert sum("/repos/create" in line for line in own.written()) == 1


def test_a_public_repository_is_not_taken_for_a_private_one(own: Own) -> None:
    """
    What was to be private is not sent to a repository that is there and public.
    """
    with pytest.raises(UsageError, match="is public"):
        own.publish(create=True, private=True)

    assert own.written() == []


def test_a_repository_may_not_be_made_by_everyone(
    own: Own, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A token that may not make it is told from a repository that is not there.
    """
    monkeypatch.setenv("HF_TOKEN", READER)
    (hub.root / REPO / ".gitattributes").unlink()
    (hub.root / REPO).rmdir()

    with pytest.raises(HubError, match="403"):
        own.publish(create=True)


def test_a_message_is_the_commits_first_line(own: Own, hub: LocalHub) -> None:
    """
    The message that was given is the commit's, and the digest of the weights stands below.
    """
    own.publish(message="Heads for everyone")

    weights = hashlib.sha256((own.head / "model.safetensors").read_bytes()).hexdigest()
    assert hub.uploads.commits[0]["summary"] == "Heads for everyone"
    assert weights in hub.uploads.commits[0]["description"]


def test_the_outcome_is_one_json_document(own: Own) -> None:
    """
    What was done can be written as JSON, every file with its digest.
    """
    document = json.loads(json.dumps(own.publish().to_json()))

    assert document["status"] == "published"
    assert document["dry_run"] is False
    assert {file["status"] for file in document["files"]} == {"added"}
