"""A head's two models are believed as their records have them, and read once for all heads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.errors import CheckpointError
from registry.facts import read_edge_facts
from registry.lock import lock_folder
from registry.records import Finding, LockEntry
from registry.verify import Ends, verify_head
from tests.conftest import Outcome
from tests.registry.stored import HEAD, SOURCE_MODEL, TARGET_MODEL, write_head
from tests.verify.test_ids import write_tokenizer

PICO = Path(__file__).parent.parent.parent / "heads" / "pico"
OWN = """\
version: 1
sources:
  mine: {path: .}
models:
  pico-little: {path: ./pico-little, hidden_size: 192, vocab_size: 2048, tokenizer: pico}
heads:
  - {source: pico-little, target: pico-draft, run: exp-weight6-layer3, from: mine}
"""


@pytest.fixture
def models(tmp_path: Path) -> Callable[..., Ends]:
    """Two models with a tokenizer and a config.json each, and records of both as they were written."""
    folders = {name: write_tokenizer(tmp_path / name) for name in ("a", "b")}
    for name, width in (("a", 4), ("b", 8)):
        (folders[name] / "config.json").write_text(f'{{"hidden_size": {width}}}')
    entries = {name: lock_folder(folder) for name, folder in folders.items()}

    def ends(**changes: LockEntry | None) -> Ends:
        return Ends(
            source=SOURCE_MODEL.model_copy(update={"hidden_size": None}),
            target=TARGET_MODEL,
            source_folder=folders["a"],
            target_folder=folders["b"],
            source_entry=changes.get("source", entries["a"]),
            target_entry=changes.get("target", entries["b"]),
        )

    return ends


def found(tmp_path: Path, ends: Ends) -> dict[str, Finding]:
    """Check -> finding of a sound head between the two."""
    report = verify_head(HEAD, write_head(tmp_path / "head"), entry=None, ends=ends)
    return {finding.check: finding for finding in report.findings}


def test_models_as_recorded_are_believed(tmp_path: Path, models: Callable[..., Ends]) -> None:
    """
    Width and tokenizer come from files that are as their records say.
    """
    checks = found(tmp_path, models())

    assert {checks[check].status for check in ("hidden_size", "tokenizer")} == {"pass"}


def test_a_changed_config_is_told_and_not_believed(tmp_path: Path, models: Callable[..., Ends]) -> None:
    """
    A width that fits the head counts for nothing in a config.json that differs from its record.
    """
    ends = models()
    (tmp_path / "a" / "config.json").write_text('{"hidden_size": 4, "x": 1}')
    checks = found(tmp_path, ends)

    assert checks["hidden_size"].status == "unknown"
    assert "the source model's config.json cannot be used" in checks["hidden_size"].detail
    assert checks["tokenizer"].status == "fail"
    assert "differs from its record" in checks["tokenizer"].detail


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_changed_tokenizer_is_a_fault(tmp_path: Path, models: Callable[..., Ends], side: str) -> None:
    """
    Equal ids prove nothing where the file that says so is not the one recorded.
    """
    ends = models()
    path = tmp_path / side / "tokenizer.json"
    path.write_text(path.read_text() + " ")
    checks = found(tmp_path, ends)

    assert checks["tokenizer"].status == "fail"
    assert "tokenizer.json" in checks["tokenizer"].detail


def test_a_file_beside_the_record_is_not_believed(tmp_path: Path, models: Callable[..., Ends]) -> None:
    """
    A file of the tokenizer that the record does not have may change what ids mean: a fault.
    """
    ends = models()
    (tmp_path / "a" / "special_tokens_map.json").write_text("{}")

    assert found(tmp_path, ends)["tokenizer"].status == "fail"


def test_a_recorded_file_that_is_not_here_leaves_facts_unknown(
    tmp_path: Path, models: Callable[..., Ends]
) -> None:
    """
    What is missing is no fault of the head's.
    """
    ends = models()
    (tmp_path / "a" / "tokenizer.json").unlink()

    facts = read_edge_facts(None, ends.source_folder, None, source_entry=ends.source_entry)

    assert facts.source_tokenizer is None
    assert facts.source_config_hidden_size == 4


def test_the_shelf_hands_the_records_on(
    specreg: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    `specreg verify HEAD` ends with 1 when its source's tokenizer is not as the catalog's lock has it.
    """
    edge = "pico-little--to--pico-draft/exp-weight6-layer3"
    shutil.copytree(PICO / edge, tmp_path / edge)
    shutil.copytree(PICO / "pico-little", tmp_path / "pico-little")
    (tmp_path / "own.yaml").write_text(OWN)
    monkeypatch.setenv("SPECREG_CATALOG", str(tmp_path / "own.yaml"))
    specreg("lock", str(tmp_path / "own.yaml"))
    assert specreg("verify", edge).code == 0
    with (tmp_path / "pico-little" / "tokenizer.json").open("a") as stream:
        stream.write("\n")

    assert specreg("verify", edge).code == 1


def test_a_model_of_many_edges_is_read_once(tmp_path: Path, models: Callable[..., Ends]) -> None:
    """
    What was read and held against its record serves every edge of the model, until a file changes.
    """
    ends = models()
    first = read_edge_facts(None, ends.source_folder, None, source_entry=ends.source_entry)
    again = read_edge_facts(None, None, ends.source_folder, target_entry=ends.source_entry)
    (tmp_path / "a" / "tokenizer.json").write_text("{}")

    assert again.target_tokenizer is first.source_tokenizer
    with pytest.raises(CheckpointError, match="differs from its record"):
        read_edge_facts(None, ends.source_folder, None, source_entry=ends.source_entry)
