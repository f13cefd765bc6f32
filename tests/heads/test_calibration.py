"""A calibration beside a head: what it changes, who may change it, and what is refused."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from heads import AcceptancePredictionHead
from heads.runtime import load_registered_head
from registry.errors import CheckpointError
from registry.files.calibrationfile import calibration_bytes, parse_calibration
from registry.lock import lock_folder
from registry.names import find_heads
from registry.recording import record_catalog, write_recording
from registry.records import Calibration, LockEntry, Outlook
from registry.shelf import Shelf
from registry.verify import verify_head
from tests.conftest import Outcome
from tests.registry.stored import HEAD, HIDDEN, write_head

Run = Callable[..., Outcome]
HALF = Calibration(scale=0.5, bias=1.75)
EDGE = "pico-little--to--pico-draft"
PICO = Path(__file__).parent.parent.parent / "heads" / "pico"


def beside(folder: Path, content: str | bytes) -> Path:
    """A calibration.json of that content in the folder."""
    path = folder / "calibration.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_head(tmp_path / "a--to--b" / "exp-weight6-layer2")


def test_acceptance_is_calibrated_and_the_raw_numbers_stay(folder: Path) -> None:
    """
    sigmoid(scale * logit + bias), the logit being log P1 - log P0 of the head as it was trained.
    """
    beside(folder, calibration_bytes(HALF))
    hidden = torch.randn(5, HIDDEN, generator=torch.Generator().manual_seed(0))

    head = AcceptancePredictionHead.from_pretrained(folder)

    log_probs = torch.log_softmax(head(hidden), dim=-1)
    logit = log_probs[:, 1] - log_probs[:, 0]
    assert head.calibration == HALF
    assert torch.allclose(head.acceptance(hidden), torch.sigmoid(0.5 * logit + 1.75), atol=1e-6)
    assert torch.allclose(head.raw_acceptance(hidden), log_probs[:, 1].exp(), atol=1e-6)


def test_without_one_the_published_numbers_are_used(folder: Path) -> None:
    """
    A head as published has none, and its acceptance is the raw one.
    """
    head = AcceptancePredictionHead.from_pretrained(folder)
    hidden = torch.randn(5, HIDDEN, generator=torch.Generator().manual_seed(0))

    assert head.calibration is None
    assert torch.equal(head.acceptance(hidden), head.raw_acceptance(hidden))


def test_it_is_stored_beside_the_head_and_never_in_its_config(folder: Path, tmp_path: Path) -> None:
    """
    config.json keeps its two keys; a head without a calibration takes away that of the one before it.
    """
    head = AcceptancePredictionHead.from_pretrained(folder)
    head.calibration = HALF
    head.save_pretrained(tmp_path / "kept")
    again = AcceptancePredictionHead.from_pretrained(tmp_path / "kept")

    assert again.calibration == HALF
    assert set(json.loads((tmp_path / "kept" / "config.json").read_text())) == {"hidden_size", "num_layers"}
    head.calibration = None
    head.save_pretrained(tmp_path / "kept")
    assert AcceptancePredictionHead.from_pretrained(tmp_path / "kept").calibration is None


BAD = {
    "no JSON": ("{", "not JSON"),
    "a list": ("[1, 2]", "expected an object"),
    "no bias": ('{"scale": 1}', "bias: expected a number"),
    "a text": ('{"scale": "1", "bias": 0}', "scale: expected a number"),
    "true": ('{"scale": true, "bias": 0}', "scale: expected a number"),
    "NaN": ('{"scale": NaN, "bias": 0}', "NaN"),
    "infinite": ('{"scale": 1e999, "bias": 0}', "scale: expected a number"),
    "huge": ('{"scale": 1, "bias": 1e7}', "bias: expected a number"),
    "one more": ('{"scale": 1, "bias": 0, "shift": 2}', "shift: not a key"),
    "twice": ('{"scale": 1, "scale": 2, "bias": 0}', "scale"),
    "an outlook of one number": ('{"scale": 1, "bias": 0, "greedy": 2}', "greedy: expected an object"),
    "an outlook that lacks one": (
        '{"scale": 1, "bias": 0, "greedy": {"head": 1, "confidence": 1, "bias": 0, "next_bias": 0}}',
        "greedy.next_confidence: expected a number",
    ),
    "an outlook with one more": (
        (
            '{"scale": 1, "bias": 0, "sampled": {"head": 1, "confidence": 1, "bias": 0, "next_confidence": 1, '
            '"next_bias": 0, "shift": 1}}'
        ),
        "sampled.shift: not a key",
    ),
    "an outlook of another way": ('{"scale": 1, "bias": 0, "beam": {}}', "beam: not a key"),
    "too long": ('{"scale": 1, "bias": 0}' + " " * 5000, "more than the 4096"),
}


@pytest.mark.parametrize(("content", "told"), BAD.values(), ids=BAD)
def test_what_is_no_calibration_is_refused(folder: Path, content: str, told: str) -> None:
    """
    Nothing is loaded beside it, and the file and its fault are named; `verify` says the same.
    """
    path = beside(folder, content)

    with pytest.raises(CheckpointError) as caught:
        AcceptancePredictionHead.from_pretrained(folder)
    report = verify_head(HEAD, folder, entry=lock_folder(folder))

    assert str(path) in str(caught.value)
    assert told in str(caught.value)
    assert [file.path for file in report.files if file.fault] == ["calibration.json"]


def test_numbers_survive_the_file_exactly() -> None:
    """
    What is written is read back to the last bit.
    """
    outlook = Outlook(head=0.1, confidence=1 / 7, bias=-math.e, next_confidence=2 / 3, next_bias=0.0)
    alone = Calibration(scale=1 / 3, bias=-math.pi)

    for calibration in (alone, alone.model_copy(update={"greedy": outlook})):
        assert parse_calibration(calibration_bytes(calibration), file="f") == calibration


def test_verify_holds_a_recorded_calibration_to_its_record(folder: Path) -> None:
    """
    Recorded, it must be there as recorded; without a record it is never read, and no fault.
    """
    plain = lock_folder(folder)
    path = beside(folder, calibration_bytes(HALF))
    recorded = lock_folder(folder)

    def status(entry: LockEntry) -> tuple[bool, str]:
        report = verify_head(HEAD, folder, entry=entry)
        found = {file.path: file.status for file in report.files}
        return report.ok, found["calibration.json"]

    assert status(recorded) == (True, "ok")
    assert status(plain) == (True, "unrecorded")
    path.write_bytes(calibration_bytes(Calibration(scale=0.5, bias=1.76)))
    assert status(recorded) == (False, "changed")
    path.unlink()
    assert status(recorded) == (False, "missing")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's catalog with a copy of an embedded head, recorded without a calibration."""
    plain = shutil.ignore_patterns("calibration.json")
    shutil.copytree(PICO / EDGE / "exp-weight6-layer3", tmp_path / "mine" / EDGE / "own", ignore=plain)
    file = tmp_path / "own.yaml"
    file.write_text(
        "version: 1\nsources:\n  mine: {path: ./mine}\nheads:\n"
        "  - {source: pico-little, target: pico-draft, run: own, from: mine}\n"
    )
    write_recording(record_catalog(file))
    return file


def loaded(file: Path) -> AcceptancePredictionHead:
    shelf = Shelf.open(file)
    (head,) = find_heads(shelf.catalog, f"{EDGE}/own")
    return load_registered_head(shelf, head)


def test_the_catalogs_calibration_wins_over_the_one_beside_the_head(own: Path, specreg: Run) -> None:
    """
    It is the one that a reviewer sees; the recorded file serves where the catalog has none.
    """
    beside(own.parent / "mine" / EDGE / "own", calibration_bytes(HALF))

    assert loaded(own).calibration is None  # not in the record: not read
    write_recording(record_catalog(own))
    assert loaded(own).calibration == HALF
    specreg("catalog", "set", f"{EDGE}/own", "calibration", "{scale: 2.0, bias: -1.0}", "--file", str(own))
    assert loaded(own).calibration == Calibration(scale=2.0, bias=-1.0)


def test_a_changed_calibration_does_not_load(own: Path) -> None:
    """
    The numbers that decoding would use are those that were recorded, or none.
    """
    path = beside(own.parent / "mine" / EDGE / "own", calibration_bytes(HALF))
    write_recording(record_catalog(own))
    path.write_bytes(path.read_bytes().replace(b"1.75", b"9.75"))

    with pytest.raises(CheckpointError, match=r"calibration.json of .* differs from its record"):
        loaded(own)
