"""A head and a model against their record: every file, every fault."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from safetensors.numpy import save

from registry.errors import CheckpointError, NotInstalledError
from registry.files import manifest
from registry.files.folder import HashedFile
from registry.lock import lock_folder
from registry.places import Place
from registry.records import LockEntry, Model
from registry.verify import Ends, HeadReport, read_verified, report_json, verify_head, verify_model
from tests.registry.stored import (
    HEAD,
    HIDDEN,
    SOURCE_MODEL,
    TARGET_MODEL,
    flip_bit,
    head_entry,
    head_tensors,
    shared_tensors,
    write_head,
)

WEIGHTS = "model.safetensors"


def verify(folder: Path, entry: LockEntry | None = None, **changes: Any) -> HeadReport:
    """The report on HEAD in this folder, between SOURCE_MODEL and TARGET_MODEL."""
    ends = Ends(**{"source": SOURCE_MODEL, "target": TARGET_MODEL, **changes})
    return verify_head(HEAD, folder, entry=entry, ends=ends)


def statuses(report: HeadReport) -> dict[str, str]:
    """Path -> status."""
    return {file.path: file.status for file in report.files}


def failed(report: HeadReport) -> list[str]:
    """Names of the checks that fail."""
    return [finding.check for finding in report.findings if finding.status == "fail"]


def detail(report: HeadReport, check: str) -> str:
    """What one check says."""
    return next(finding.detail for finding in report.findings if finding.check == check)


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """A sound head's folder."""
    return write_head(tmp_path / "head")


@pytest.fixture
def entry(head: Path) -> LockEntry:
    """The record of that folder."""
    return lock_folder(head)


def test_a_sound_head_passes_every_check(head: Path, entry: LockEntry) -> None:
    """
    A head that is as recorded has no fault, and nothing about it stays unknown.
    """
    report = verify(head, entry)

    assert report.ok
    assert statuses(report) == {"config.json": "ok", WEIGHTS: "ok"}
    assert {finding.status for finding in report.findings} == {"pass"}
    assert {finding.subject for finding in report.findings} == {HEAD.name}


def test_an_unrecorded_head_may_be_sound(head: Path) -> None:
    """
    Without a record a sound head is ok, its record is unknown, and each file says why.
    """
    report = verify(head)

    assert report.ok
    assert {file.status for file in report.files} == {"unrecorded"}
    assert {file.detail for file in report.files} == {"no recorded digest"}
    assert [finding.check for finding in report.findings if finding.status == "unknown"] == ["record"]


@pytest.mark.parametrize("dtype", ["f2", "f8"])
def test_any_one_floating_dtype_will_do(tmp_path: Path, dtype: str) -> None:
    """
    Half and double precision are as sound as single.
    """
    assert verify(write_head(tmp_path / "head", tensors=head_tensors(dtype=dtype))).ok


@pytest.mark.parametrize("depth", [2, 3])
def test_both_stored_forms_are_known(tmp_path: Path, depth: int) -> None:
    """
    A block stored once, with the dropped names in the metadata, is as good as separate blocks.
    """
    tensors, metadata = shared_tensors(depth)
    config = {"hidden_size": HIDDEN, "num_layers": depth}
    head = head_entry(f"exp-layer{depth}")
    folder = write_head(tmp_path / "shared", tensors=tensors, metadata=metadata, config=config)
    separate = write_head(tmp_path / "separate", tensors=head_tensors(depth=depth), config=config)

    shared_report = verify_head(head, folder, entry=None)
    separate_report = verify_head(head, separate, entry=None)

    assert shared_report.ok
    assert detail(shared_report, "tensors").endswith("shared block")
    assert separate_report.ok
    assert detail(separate_report, "tensors").endswith("separate blocks")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model.1.linear.bias": None}, "model.1.linear.bias is missing, and the metadata maps it nowhere"),
        ({"model.1.linear.bias": "model.2.bias"}, "maps model.1.linear.bias to 'model.2.bias'"),
        ({"model.1.linear.bias": "model.0.linear.weight"}, "expected model.0.linear.bias"),
        (
            {"model.7.linear.bias": "model.0.linear.bias"},
            "'model.7.linear.bias', which this head does not have",
        ),
        ({"model.0.linear.bias": "model.0.linear.bias"}, "model.0.linear.bias is stored"),
    ],
)
def test_a_shared_block_is_what_the_metadata_says(
    tmp_path: Path, changes: dict[str, str | None], said: str
) -> None:
    """
    Dropped names that lead nowhere, elsewhere or twice are refused, so that no block stays random.
    """
    tensors, metadata = shared_tensors(2)
    mapped = {name: kept for name, kept in (metadata | changes).items() if kept is not None}

    report = verify(write_head(tmp_path / "head", tensors=tensors, metadata=mapped))

    assert failed(report) == ["tensors"]
    assert said in detail(report, "tensors")


def test_a_flipped_bit_is_reported_as_a_changed_file(head: Path, entry: LockEntry) -> None:
    """
    The report names the file with both digests, and goes on to the other files.
    """
    (head / WEIGHTS).write_bytes(flip_bit((head / WEIGHTS).read_bytes(), 8 * 600))

    report = verify(head, entry)

    assert not report.ok
    assert statuses(report) == {"config.json": "ok", WEIGHTS: "changed"}
    assert entry.files[WEIGHTS].sha256 in report.files[1].detail
    assert failed(report) == ["record"]


def test_every_fault_is_told_at_once(head: Path, entry: LockEntry) -> None:
    """
    Files that are extra, missing and changed, and a wrong width, are all in one report, sorted by path.
    """
    (head / "another.safetensors").write_bytes(b"")
    (head / "config.json").unlink()
    (head / WEIGHTS).write_bytes(b"short")

    report = verify(head, entry)

    assert statuses(report) == {"another.safetensors": "extra", "config.json": "missing", WEIGHTS: "changed"}
    assert list(statuses(report)) == sorted(statuses(report))
    assert detail(report, "record") == (
        f"not as recorded: another.safetensors extra, config.json missing, {WEIGHTS} changed"
    )


def test_a_file_of_another_size_is_not_read(
    head: Path, entry: LockEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Sizes are compared first: a file of another size than recorded costs nothing to refuse.
    """
    with (head / WEIGHTS).open("r+b") as stream:
        stream.truncate(1 << 40)
    taken: list[str] = []
    take = HashedFile.take

    def noted(file: HashedFile, count: int) -> memoryview:
        taken.append(file.name)
        return take(file, count)

    monkeypatch.setattr(HashedFile, "take", noted)

    report = verify(head, entry)

    assert report.files[1].detail == f"expected {entry.files[WEIGHTS].size_bytes} bytes, got {1 << 40}"
    assert set(taken) == {"config.json"}


def test_a_file_past_the_cap_is_not_read(head: Path) -> None:
    """
    Without a record, a head's file of more than 4 GiB is refused unread.
    """
    with (head / WEIGHTS).open("r+b") as stream:
        stream.truncate((4 << 30) + 1)

    report = verify(head)

    assert statuses(report)[WEIGHTS] == "invalid"
    assert "at most" in report.files[1].detail


def test_swapped_files_are_seen(tmp_path: Path) -> None:
    """
    Two sound heads of one shape with their weights swapped are both told apart from their records.
    """
    first = write_head(tmp_path / "first")
    second = write_head(tmp_path / "second", tensors={k: v + 1 for k, v in head_tensors().items()})
    entries = lock_folder(first), lock_folder(second)
    (first / WEIGHTS).rename(tmp_path / "aside")
    (second / WEIGHTS).rename(first / WEIGHTS)
    (tmp_path / "aside").rename(second / WEIGHTS)

    for folder, entry in zip((first, second), entries, strict=True):
        assert failed(verify(folder, entry)) == ["record"]


def test_what_is_optional_may_come_and_go(head: Path) -> None:
    """
    A README or a training log that is not recorded, or recorded and not here, is told and is no fault.
    """
    (head / "README.md").write_text("about")
    entry = lock_folder(head)
    (head / "README.md").unlink()
    (head / "trainer_state.json").write_text("{}")

    report = verify(head, entry)

    assert report.ok
    assert statuses(report) == {
        "README.md": "missing",
        "config.json": "ok",
        WEIGHTS: "ok",
        "trainer_state.json": "unrecorded",
    }


def test_an_optional_file_that_is_recorded_must_match(head: Path) -> None:
    """
    A training log that is here and recorded is held to its record.
    """
    (head / "trainer_state.json").write_text("{}")
    entry = lock_folder(head)
    (head / "trainer_state.json").write_text("[]")

    assert statuses(verify(head, entry))["trainer_state.json"] == "changed"


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
def test_what_a_head_needs_must_be_here(head: Path, name: str) -> None:
    """
    Even without a record, a head without its config or its weights is at fault.
    """
    (head / name).unlink()

    report = verify(head)

    assert not report.ok
    assert statuses(report)[name] == "missing"


def spoil_tensor(name: str, change: Callable[[Any], Any]) -> Callable[[], dict[str, Any]]:
    """Tensors of a head, one of them changed or, when None, gone."""

    def spoil() -> dict[str, Any]:
        tensors = head_tensors()
        tensors[name] = change(tensors[name])
        return {key: value for key, value in tensors.items() if value is not None}

    return spoil


@pytest.mark.parametrize(
    ("tensors", "check", "said"),
    [
        (spoil_tensor("model.1.linear.weight", lambda t: t * np.nan), "finite", "NaN or infinity in model.1"),
        (spoil_tensor("model.2.bias", lambda t: t / 0.0), "finite", "NaN or infinity in model.2.bias"),
        (spoil_tensor("model.0.linear.bias", lambda t: t.astype("f2")), "dtype", "got F16, F32"),
        (
            spoil_tensor("model.2.weight", lambda t: t.T.copy()),
            "tensors",
            "expected shape [2, 4], got [4, 2]",
        ),
        (spoil_tensor("model.2.weight", lambda t: t[:1]), "tensors", "expected shape [2, 4], got [1, 4]"),
        (spoil_tensor("model.0.linear.bias", lambda _: None), "tensors", "model.0.linear.bias is missing"),
        (spoil_tensor("model.2.bias", lambda _: None), "tensors", "model.2.bias is missing"),
        (lambda: {**head_tensors(), "extra": np.ones(1, "f4")}, "tensors", "extra is not expected"),
        (lambda: {k: v.astype("i4") for k, v in head_tensors().items()}, "dtype", "got I32"),
        (dict, "dtype", "got no tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_weights_that_are_not_a_head_fail(
    tmp_path: Path, tensors: Callable[[], dict[str, Any]], check: str, said: str
) -> None:
    """
    Numbers, dtypes, names and shapes are each held to what config.json implies.
    """
    report = verify(write_head(tmp_path / "head", tensors=tensors()))

    assert not report.ok
    assert check in failed(report)
    assert said in detail(report, check)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"hidden_size": HIDDEN}, "num_layers: expected an integer from 0 to 64, got nothing"),
        ({"hidden_size": "4", "num_layers": 2}, "hidden_size: expected an integer from 1 to 131072, got '4'"),
        ({"hidden_size": 4.0, "num_layers": 2}, "got 4.0"),
        ({"hidden_size": True, "num_layers": 2}, "got True"),
        ({"hidden_size": 0, "num_layers": 65}, "num_layers: expected an integer from 0 to 64, got 65"),
        ([4, 2], "expected an object"),
    ],
)
def test_a_config_is_two_plain_integers(tmp_path: Path, config: object, said: str) -> None:
    """
    Anything but two integers within bounds is refused, and what depends on it is unknown, not passed.
    """
    report = verify(write_head(tmp_path / "head", config=config))

    assert failed(report) == ["config"]
    assert said in detail(report, "config")
    assert statuses(report)["config.json"] == "invalid"
    assert {f.status for f in report.findings if f.check in ("tensors", "depth", "hidden_size")} == {
        "unknown"
    }


@pytest.mark.parametrize(
    "text", ["", "{", '{"hidden_size": 4, "hidden_size": 4, "num_layers": 2}', "{} " * 70_000]
)
def test_a_config_is_strict_json(head: Path, text: str) -> None:
    """
    A config that is cut, says a thing twice or is far too long is refused.
    """
    (head / "config.json").write_text(text)

    assert failed(verify(head)) == ["config"]


def test_an_unknown_key_is_not_passed_over(tmp_path: Path) -> None:
    """
    What else a config says might change the head: it is no fault, and no pass either.
    """
    config = {"hidden_size": HIDDEN, "num_layers": 2, "activation": "relu"}

    report = verify(write_head(tmp_path / "head", config=config))

    assert report.ok
    assert next(f.status for f in report.findings if f.check == "config") == "unknown"
    assert "activation" in detail(report, "config")


def test_a_head_is_as_wide_as_its_source(head: Path, tmp_path: Path) -> None:
    """
    Both the catalog's and the model's own hidden size must be the head's.
    """
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text('{"hidden_size": 8}')

    report = verify(head, source=Model(alias="a", hidden_size=6), source_folder=source)

    assert failed(report) == ["hidden_size"]
    assert detail(report, "hidden_size") == (
        "expected hidden size as the catalog says of a 6, the source model's config.json says 8, got 4"
    )


def test_a_multimodal_source_tells_its_width_inside(head: Path, tmp_path: Path) -> None:
    """
    `text_config` of a source model's config counts where the top says nothing.
    """
    (tmp_path / "config.json").write_text('{"text_config": {"hidden_size": 4}}')

    report = verify(head, source=None, source_folder=tmp_path)

    assert report.ok
    assert "the source model's config.json says" in detail(report, "hidden_size")


@pytest.mark.parametrize("text", [None, "{", '{"hidden_size": "4"}'])
def test_a_width_nobody_tells_is_unknown(head: Path, tmp_path: Path, text: str | None) -> None:
    """
    With no word on the source's hidden size, or a config that cannot be used, the check does not pass.
    """
    if text is not None:
        (tmp_path / "config.json").write_text(text)

    report = verify(head, source=None, source_folder=tmp_path)

    assert next(f.status for f in report.findings if f.check == "hidden_size") == "unknown"


def test_the_runs_name_and_the_config_tell_one_depth(head: Path) -> None:
    """
    A run called layer3 whose config says two blocks is at fault.
    """
    named = head_entry("exp-weight6-layer3")

    report = verify_head(named, head, entry=None, ends=Ends(source=SOURCE_MODEL, target=TARGET_MODEL))

    assert failed(report) == ["depth"]
    assert detail(report, "depth") == "expected 3 residual blocks as the run's name states, got 2"


def test_a_pickle_is_named_and_not_opened(head: Path) -> None:
    """
    A head that is a pickle is held to its record and told as such; what is inside stays unknown.
    """
    (head / WEIGHTS).unlink()
    (head / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")

    report = verify(head, lock_folder(head))

    assert report.ok
    assert report.files[1].detail.endswith("a pickle: not loaded; specreg never unpickles here")
    unknown = {f.check for f in report.findings if f.status == "unknown"}
    assert unknown == {"format", "tensors", "dtype", "finite"}


def test_weights_that_are_no_safetensors_fail(head: Path) -> None:
    """
    A refused header is told by the file and by the check, and the rest of the report is there.
    """
    (head / WEIGHTS).write_bytes(b"\xff" * 64)

    report = verify(head, lock_folder(head))

    assert statuses(report)[WEIGHTS] == "invalid"
    assert failed(report) == ["format"]


def replace_by(kind: str, path: Path) -> None:
    """Put something that is no regular file of this folder in a file's place."""
    content = path.read_bytes()
    path.unlink()
    if kind == "named pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
        (path / "inner").write_bytes(content)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "link outside":
        outside = path.parent.parent / "outside"
        outside.write_bytes(content)
        path.symlink_to(outside)
    elif kind == "link to itself":
        path.symlink_to(path)
    else:
        path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("named pipe", "invalid"),
        ("folder", "missing"),
        ("device", "invalid"),
        ("link outside", "invalid"),
        ("link to itself", "unreadable"),
        ("link to nothing", "missing"),
    ],
)
def test_only_regular_files_inside_are_read(head: Path, entry: LockEntry, kind: str, status: str) -> None:
    """
    A pipe, a device, a folder or a link out of the folder is refused at once, though its bytes would match.
    """
    replace_by(kind, head / WEIGHTS)

    report = verify(head, entry)

    assert not report.ok
    assert statuses(report)[WEIGHTS] == status
    with pytest.raises(CheckpointError, match="is refused"):
        read_verified(head, entry, [WEIGHTS])


def test_links_into_the_hub_caches_blobs_are_followed(tmp_path: Path) -> None:
    """
    A snapshot's files are links into its repo's blobs, or through those into the blobs all repos share.
    """
    cache = tmp_path / "hub"
    store = cache / "models--org--heads"
    written = write_head(tmp_path / "written")
    folder = store / "snapshots" / ("a" * 40) / "a--to--b" / "run"
    for parent in (folder, store / "blobs", cache / "blobs" / "00"):
        parent.mkdir(parents=True)
    (written / "config.json").rename(store / "blobs" / "config")
    (written / WEIGHTS).rename(cache / "blobs" / "00" / "weights")
    (store / "blobs" / "weights").symlink_to("../../blobs/00/weights")
    (folder / "config.json").symlink_to("../../../../blobs/config")
    (folder / WEIGHTS).symlink_to("../../../../blobs/weights")

    entry = lock_folder(folder)

    assert verify(folder, entry).ok
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(tmp_path / "written" / "config.json")
    (tmp_path / "written" / "config.json").write_bytes(b"")
    assert statuses(verify(folder, entry))[WEIGHTS] == "invalid"


def test_a_link_to_a_folder_is_not_entered(head: Path, entry: LockEntry) -> None:
    """
    A link to a folder is told as an extra and nothing behind it is looked at.
    """
    (head / "more").symlink_to("/")

    assert statuses(verify(head, entry)) == {"config.json": "ok", WEIGHTS: "ok", "more": "extra"}


def test_an_unreadable_file_is_one_fault_among_others(
    head: Path, entry: LockEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A file that the disk will not give is told, and the other file is checked all the same.
    """
    take = HashedFile.take

    def fail(file: HashedFile, count: int) -> memoryview:
        if file.name == WEIGHTS:
            raise OSError(5, "Input/output error")
        return take(file, count)

    monkeypatch.setattr(HashedFile, "take", fail)
    report = verify(head, entry)

    assert statuses(report) == {"config.json": "ok", WEIGHTS: "unreadable"}
    assert report.files[1].detail == "Input/output error"


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_changes_while_it_is_read_is_told(
    head: Path, entry: LockEntry, monkeypatch: pytest.MonkeyPatch, change: int
) -> None:
    """
    A file cut or grown after it was opened gives bytes of no one moment: it is unreadable, not changed.
    """
    judge = manifest._judge

    def resize(file: HashedFile, *rest: Any) -> Any:
        if file.name == WEIGHTS:
            os.truncate(head / WEIGHTS, file.size_bytes + change)
        return judge(file, *rest)

    monkeypatch.setattr(manifest, "_judge", resize)

    assert verify(head, entry).files[1].detail == "it changed while it was read"


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    """
    A folder that is not there gives a report with a fault, no traceback.
    """
    assert statuses(verify(tmp_path / "nowhere"))["."] == "unreadable"


def test_a_place_that_is_not_here_is_not_verified(head: Path, entry: LockEntry) -> None:
    """
    A place stands for its folder; without one the head is not installed.
    """
    here = Place(folder=head, looked_in="here", kind="folder")
    nowhere = Place(folder=None, looked_in="there", kind="hub")

    assert verify_head(HEAD, here, entry=entry).ok
    with pytest.raises(NotInstalledError, match="looked in there"):
        verify_head(HEAD, nowhere, entry=entry)


def test_names_that_no_terminal_should_see_are_escaped(head: Path) -> None:
    """
    A file's name with control characters, or that is no text, can be printed and put into JSON.
    """
    (head / "\x1b[2Jx").write_bytes(b"")
    (head / os.fsdecode(b"\xff")).write_bytes(b"")

    document = report_json([verify(head)])

    json.dumps(document, ensure_ascii=False).encode()
    assert {"\\x1b[2Jx", "\\udcff"} < {file["path"] for file in document["heads"][0]["files"]}


def test_the_report_is_the_documented_json(head: Path, entry: LockEntry) -> None:
    """
    The document has the contract's keys and no others; one bad head makes the whole not ok.
    """
    sound = verify(head, entry)
    (head / "config.json").unlink()

    document = report_json([sound, verify(head, entry)])

    assert document.keys() == {"ok", "heads"}
    assert [one["ok"] for one in document["heads"]] == [True, False]
    assert document["ok"] is False
    assert document["heads"][0].keys() == {"head", "ok", "files", "findings"}
    assert document["heads"][0]["head"] == HEAD.name
    assert document["heads"][0]["files"][0].keys() == {"path", "status", "detail"}
    assert document["heads"][0]["findings"][0].keys() == {"check", "subject", "status", "detail"}


def test_the_bytes_handed_out_are_the_bytes_on_record(head: Path, entry: LockEntry) -> None:
    """
    While another thread swaps the file without pause, each read gives the recorded bytes or refuses.
    """
    sound = (head / WEIGHTS).read_bytes()
    swapped = flip_bit(sound, 8 * len(sound) - 1)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for content in (swapped, sound):
                (head.parent / "next").write_bytes(content)
                (head.parent / "next").replace(head / WEIGHTS)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(200):
            with suppress(CheckpointError):
                assert read_verified(head, entry, [WEIGHTS])[WEIGHTS] == sound
    finally:
        done.set()
        swapper.join()
    assert read_verified(head, entry, [WEIGHTS])[WEIGHTS] == sound
    (head / WEIGHTS).write_bytes(swapped)
    with pytest.raises(CheckpointError):
        read_verified(head, entry, [WEIGHTS])


def test_what_is_not_recorded_is_not_handed_out(head: Path, entry: LockEntry) -> None:
    """
    No record, or none of that file, is a refusal and never a read.
    """
    (head / "more.json").write_text("{}")

    with pytest.raises(CheckpointError, match="it has no recorded digest"):
        read_verified(head, entry, ["more.json"])
    with pytest.raises(CheckpointError, match="it has no recorded digest"):
        read_verified(head, None, ["config.json"])


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("hub", "Download it again, or report the record if this repeats."),
        ("folder", "if they are meant to be so, record them anew with `specreg lock CATALOG`."),
        ("package", "install that again."),
    ],
)
def test_a_refusal_says_what_was_expected_and_got(
    head: Path, entry: LockEntry, kind: Literal["hub", "folder", "package"], step: str
) -> None:
    """
    The message has the file, the head, both digests, what was done and what to do about files that lie there.
    """
    (head / "config.json").write_text('{"hidden_size": 5, "num_layers": 2}')
    place = Place(folder=head, looked_in=str(head), kind=kind)

    with pytest.raises(CheckpointError) as caught:
        read_verified(place, entry, ["config.json"], subject=HEAD.name)

    text = str(caught.value)
    assert text.startswith(f"config.json of {HEAD.name} differs from its record: expected sha256 ")
    assert entry.files["config.json"].sha256 in text
    assert "Nothing was loaded. " in text
    assert text.endswith(step)


MODEL = Model(alias="m", hidden_size=8, vocab_size=10)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A sound model in two shards."""
    folder = tmp_path / "model"
    folder.mkdir()
    shards = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    for name, shard in shards.items():
        (folder / shard).write_bytes(save({name: np.ones(4, np.float32)}))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    (folder / "config.json").write_text(json.dumps({"hidden_size": 8, "vocab_size": 10, "rope": 1e4}))
    return folder


def test_a_sound_model_passes(model: Path) -> None:
    """
    Files as recorded, sizes as the catalog says, shards as the index lists them.
    """
    report = verify_model(MODEL, model, entry=lock_folder(model))

    assert report.ok
    assert {finding.check: finding.status for finding in report.findings} == {
        "record": "pass",
        "config": "pass",
        "format": "pass",
        "tensors": "unknown",  # neither tensor's name tells what it is
        "finite": "pass",
    }
    assert report_json([], [report])["models"][0]["model"] == "m"


def test_a_flipped_bit_of_a_model_is_seen(model: Path) -> None:
    """
    The last bit of the last shard counts.
    """
    entry = lock_folder(model)
    shard = model / "model-2.safetensors"
    shard.write_bytes(flip_bit(shard.read_bytes(), 8 * shard.stat().st_size - 1))

    assert (
        verify_model(MODEL, model, entry=entry).faults[0].startswith("model-2.safetensors: expected sha256")
    )


@pytest.mark.parametrize("fault", ["shard gone", "tensor elsewhere", "shard outside", "width"])
def test_a_model_that_does_not_hang_together_fails(model: Path, fault: str) -> None:
    """
    Without a record too, an index that lists what is not there, and a width the catalog denies, are faults.
    """
    index = model / "model.safetensors.index.json"
    if fault == "shard gone":
        (model / "model-1.safetensors").unlink()
    elif fault == "tensor elsewhere":
        index.write_text('{"weight_map": {"a": "model-2.safetensors"}}')
    elif fault == "shard outside":
        index.write_text('{"weight_map": {"a": "../model/model-1.safetensors"}}')
    else:
        (model / "config.json").write_text('{"hidden_size": 9}')

    assert not verify_model(MODEL, model, entry=None).ok


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("README.md", False),
        ("pytorch_model.bin", False),
        ("onnx/model.onnx", False),
        ("model.safetensors", True),
        ("adapter_config.json", True),
        ("modeling.py", True),
    ],
)
def test_an_extra_file_is_a_fault_where_a_loader_reads_it(model: Path, name: str, fault: bool) -> None:
    """
    Beside recorded safetensors, papers and other formats do no harm; code, adapters and weights would.
    """
    entry = lock_folder(model)
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(b"")

    report = verify_model(MODEL, model, entry=entry)

    assert next(file.fault for file in report.files if file.path == name) is fault


def test_a_pickled_model_is_told(model: Path) -> None:
    """
    A model with nothing but pickled weights has its format unknown.
    """
    for file in model.glob("*.safetensors*"):
        file.unlink()
    (model / "pytorch_model.bin").write_bytes(b"\x80\x02.")

    report = verify_model(MODEL, model, entry=lock_folder(model))

    assert report.ok
    said = next(finding for finding in report.findings if finding.check == "format")
    assert said.status == "unknown"
    assert "a pickle" in said.detail
