"""`specreg bench` from the outside."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers.utils import logging as library_logging

from heads.bench.remarks import SPEAKER
from tests.conftest import Outcome

Run = Callable[..., Outcome]
SHORT = ("--category", "python", "--limit", "1", "--repeats", "1", "--max-new-tokens", "12")


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def test_the_report_says_where_it_comes_from(specreg: Run, tmp_path: Path) -> None:
    """
    The JSON holds versions, machine, prompts and settings beside each system's figures, and the table the same speeds.
    """
    out = tmp_path / "bench.json"
    remarks = Kept()
    library_logging.warning_once.cache_clear()  # what was said in another test is said again
    logging.getLogger(SPEAKER).addHandler(remarks)

    found = specreg(
        "bench", "pico-little", "pico-target", *SHORT, "--modes", "three:heads,assisted", "--json", str(out)
    )

    logging.getLogger(SPEAKER).removeHandler(remarks)
    assert remarks.messages == []  # the library's own, which a user could do nothing about

    assert (found.code, found.err) == (0, "")
    report = json.loads(out.read_text())
    assert report["models"] == ["pico-little", "pico-draft", "pico-target"]
    assert report["provenance"]["dtype"] == ["float32"] * 3
    assert {"torch", "transformers", "processor", "threads", "measured_at"} <= set(report["provenance"])
    assert [one["mode"] for one in report["systems"]] == ["plain", "assisted", "three:heads"]
    header, *lines = [line.split("\t") for line in found.out.splitlines()]
    assert header[:2] == ["mode", "tokens/s"]
    assert [line[1] for line in lines] == [
        f"{one['tokens_per_second']['median']:.1f}" for one in report["systems"]
    ]
    assert not (tmp_path / "bench.json.journal").exists()


@pytest.mark.parametrize("command", ["bench", "measure", "tune", "doctor"])
def test_a_prompt_without_room_is_named_first(specreg: Run, tmp_path: Path, command: str) -> None:
    """
    Before anything is measured, whichever prompt of them all it is.
    """
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(
        '{"prompt": "def f("}\n' + json.dumps({"id": "long", "prompt": "x = 1\n" * 400}) + "\n"
    )

    found = specreg(command, "pico-draft", "pico-target", "--length", "2", "--prompts", str(prompts))

    assert found.code == 2
    assert "specreg: Prompt 'long' does not fit: " in found.err
    assert "1024 positions" in found.err


def test_an_unknown_mode_is_named(specreg: Run) -> None:
    """
    Before anything is measured: which ways there are.
    """
    found = specreg("bench", "pico-draft", "pico-target", *SHORT, "--modes", "clever")

    assert found.code == 2
    assert "'clever'" in found.err
    assert "two:heads" in found.err
