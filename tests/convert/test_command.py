"""`specreg convert`, and decoding with a head that is stored as a pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from heads import AcceptancePredictionHead, convert
from registry.converted import find_conversion
from registry.errors import CheckpointError, UsageError
from registry.lock import read_lock
from tests.conftest import Outcome
from tests.convert.payloads import RUN, head_of, saved, write
from tests.convert.rooms import Lent, warm

ROOT = Path(__file__).parent.parent.parent
SHIPPED = ROOT / "heads" / "pico" / "pico-little--to--pico-draft" / "exp-weight6-layer3"
HEAD = "pico-little--to--pico-draft/old-layer3"
Run = Callable[..., Outcome]


@pytest.fixture
def own(tmp_path: Path, specreg: Run) -> Path:
    """A user's catalog of one head, stored as a pickle, and its lock."""
    folder = tmp_path / "mine" / HEAD
    folder.mkdir(parents=True)
    shutil.copyfile(SHIPPED / "config.json", folder / "config.json")
    head = AcceptancePredictionHead.from_pretrained(SHIPPED)
    torch.save(head.state_dict(), folder / "pytorch_model.bin")
    (tmp_path / "own.yaml").write_text(
        "version: 1\nsources:\n  mine: {path: ./mine}\nheads:\n"
        "  - {source: pico-little, target: pico-draft, run: old-layer3, from: mine}\n"
    )
    assert specreg("lock", str(tmp_path / "own.yaml")).code == 0
    return tmp_path / "own.yaml"


@pytest.fixture
def one_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox that is up already, wherever a new one would be started."""
    monkeypatch.setattr(convert, "Sandbox", Lent)


def digest_of(own: Path) -> str:
    return read_lock(own.with_suffix(".lock")).heads[HEAD].files["pytorch_model.bin"].sha256


def decode(specreg: Run, own: Path, *more: str) -> Outcome:
    chain = ("pico-little", "pico-draft", "--run", "old-layer3", "--catalog", str(own))
    return specreg("decode", *chain, "--prompt", "x", "--max-new-tokens", "2", *more)


def test_converts_once_and_says_where(specreg: Run, own: Path) -> None:
    """
    The folder it prints holds a head like the one that was pickled; the second time nothing is done.
    """
    first = specreg("convert", HEAD, "--catalog", str(own), "--json")
    again = specreg("convert", HEAD, "--catalog", str(own))

    (document,) = json.loads(first.out)["conversions"]
    assert (first.code, again.code) == (0, 0)
    assert "stored as a pickle" in first.err
    assert document["pickle"]["sha256"] == digest_of(own)
    assert document["origin"]["head"] == HEAD
    assert again.out == f"{HEAD}\talready converted\t{document['folder']}\n"
    assert again.err == ""
    loaded = AcceptancePredictionHead.from_pretrained(document["folder"])
    shipped = AcceptancePredictionHead.from_pretrained(SHIPPED)
    assert all(
        torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in shipped.state_dict().items()
    )


@pytest.mark.usefixtures("one_start")
def test_decoding_converts_first_and_says_so(specreg: Run, own: Path) -> None:
    """
    One word on stderr the first time, none the second; both decode.
    """
    first = decode(specreg, own, "--json")
    second = decode(specreg, own, "--json")

    assert (first.code, second.code) == (0, 0)
    assert "converted first" in first.err
    assert second.err == ""
    assert json.loads(first.out)["token_ids"] == json.loads(second.out)["token_ids"]
    assert find_conversion(digest_of(own)) is not None


@pytest.mark.usefixtures("one_start")
def test_a_spoilt_conversion_is_made_again_with_a_word(specreg: Run, own: Path) -> None:
    """
    One changed byte of what was kept is seen; the head comes from the pickle anew.
    """
    decode(specreg, own)
    found = find_conversion(digest_of(own))
    assert found is not None and found.folder is not None  # noqa: PT018
    weights = bytearray(found.weights)
    weights[-1] ^= 1
    (found.folder / "model.safetensors").write_bytes(weights)

    again = decode(specreg, own)

    assert again.code == 0
    assert "not used: expected sha256" in again.err
    mended = find_conversion(digest_of(own))
    assert mended is not None
    assert mended.weights == found.weights


def test_a_pickle_that_differs_from_its_record_is_not_opened(specreg: Run, own: Path) -> None:
    """
    It is refused by its sha256, before any process sees it.
    """
    pickle = own.parent / "mine" / HEAD / "pytorch_model.bin"
    content = bytearray(pickle.read_bytes())
    content[1000] ^= 1
    pickle.write_bytes(content)

    for outcome in (specreg("convert", HEAD, "--catalog", str(own)), decode(specreg, own)):
        assert outcome.code == 1
        assert "differs from its record: expected sha256" in outcome.err


@pytest.mark.usefixtures("one_start")
def test_a_home_that_cannot_be_written_is_no_reason_not_to_decode(
    specreg: Run, own: Path, own_home: Path
) -> None:
    """
    `decode` goes on with what it converted and says it was not kept; `convert`, asked to keep it, ends with 2.
    """
    (own_home / "specreg").mkdir(parents=True, exist_ok=True)
    (own_home / "specreg" / "converted").touch()  # a file where the folder should be

    decoded = decode(specreg, own)

    assert decoded.code == 0
    assert "cannot be kept" in decoded.err
    with pytest.raises(UsageError, match="--out"):
        convert.convert_folder(own.parent / "mine" / HEAD, sandbox=warm(), say=lambda _line: None)


@pytest.mark.usefixtures("one_start")
def test_a_folder_of_no_catalog_is_converted_to_another(tmp_path: Path) -> None:
    """
    Into the folder given, without touching specreg's home; a shared block is stored once.
    """
    folder = write(tmp_path / "old", saved(head_of(shared=True).state_dict()))

    found = convert.convert_folder(folder, tmp_path / "new", sandbox=warm(), say=lambda _line: None)

    assert (found.folder, found.record.stored_form) == (tmp_path / "new", "shared block")
    assert AcceptancePredictionHead.from_pretrained(tmp_path / "new").stored_form == "shared"
    assert find_conversion(found.record.pickle.sha256) is None


def test_safetensors_need_no_conversion(specreg: Run) -> None:
    """
    A head that is stored as safetensors is told, and nothing is done.
    """
    outcome = specreg("convert", "pico-little--to--pico-target")

    assert outcome.code == 0
    assert "nothing to convert" in outcome.out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_a_pickles_place_does_not_hold_us(specreg: Run, tmp_path: Path) -> None:
    """
    Only a regular file is read, and no process is started for anything else.
    """
    folder = write(tmp_path / "old", b"")
    (folder / "pytorch_model.bin").unlink()
    os.mkfifo(folder / "pytorch_model.bin")

    outcome = specreg("convert", str(folder))

    assert outcome.code == 1
    assert "a named pipe" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nowhere",), 2, "not on this machine"),
        (("a--to--b",), 1, "No head is called"),
        ((".", "--out", "x", "pico-little--to--pico-draft"), 2, "--out takes one head"),
        ((), 2, "Missing argument"),
    ],
)
def test_what_cannot_be_meant_is_said(
    specreg: Run, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """
    A name that is none, and options that do not go together.
    """
    outcome = specreg("convert", *arguments)

    assert outcome.code == code
    assert words in outcome.err


@pytest.mark.usefixtures("one_start")
def test_a_hostile_pickle_does_not_run_when_a_head_is_loaded(tmp_path: Path) -> None:
    """
    `from_pretrained` goes the same way as everything else.
    """
    canary = tmp_path / "canary"
    folder = write(tmp_path / "old", RUN["os.system"](canary))

    with pytest.raises(CheckpointError, match=r"GLOBAL os\.system.*Nothing was converted"):
        AcceptancePredictionHead.from_pretrained(folder)

    assert not canary.exists()
