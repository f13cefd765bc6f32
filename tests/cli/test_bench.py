"""`specreg bench` from the outside."""

from __future__ import annotations

import errno
import json
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers.utils import logging as library_logging

from heads.bench import benchmark
from heads.bench.measuring import Journal, Row
from heads.bench.remarks import SPEAKER
from heads.bench.systems import TransformersSystem
from tests.cli.terminal import terminal
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


class Stop:
    """Counts what a journal is given, and interrupts after so many rows."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.rows: list[tuple[str, int]] = []
        self.swept: list[str] = []
        self.after: int | None = None
        add, settle = Journal.add, Journal.settle

        def added(journal: Journal, row: Row) -> None:
            add(journal, row)
            self.rows.append((row.mode, row.prompt))
            if len(self.rows) == self.after:
                raise KeyboardInterrupt

        def settled(journal: Journal, mode: str, settings: dict[str, Any]) -> None:
            settle(journal, mode, settings)
            self.swept.append(mode)

        patch.setattr(Journal, "add", added)
        patch.setattr(Journal, "settle", settled)


TWO_PROMPTS = '{"prompt": "def f("}\n{"prompt": "x = 1"}\n'


@pytest.fixture
def broken_off(specreg: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Stop, tuple[str, ...]]:
    """A run that was interrupted when one mode was swept and three texts of four were there; and its command."""
    monkeypatch.setattr(benchmark, "fixed_candidates", lambda _: [{"schedule": "fixed", "max_draft": [2]}])
    (tmp_path / "prompts.jsonl").write_text(TWO_PROMPTS)
    files = ("--prompts", str(tmp_path / "prompts.jsonl"), "--json", str(tmp_path / "bench.json"))
    options = ("--length", "2", "--modes", "two:fixed", "--repeats", "1", "--max-new-tokens", "4", *files)
    command = ("bench", "pico-draft", "pico-target", *options)
    stop = Stop(monkeypatch)
    stop.after = 3
    found = specreg(*command)
    assert found.code == 130
    assert "give the same command again to go on" in found.err
    assert (len(stop.rows), stop.swept) == (3, ["two:fixed"])
    return stop, command


def test_the_same_command_goes_on_where_it_was(
    broken_off: tuple[Stop, tuple[str, ...]], specreg: Run, tmp_path: Path
) -> None:
    """
    Only the text that is missing is decoded, nothing is swept anew, and the report is of all four.
    """
    stop, command = broken_off
    there = set(stop.rows)

    found = specreg(*command)

    assert (found.code, found.err) == (0, "")
    assert (len(stop.rows), stop.swept) == (4, ["two:fixed"])
    assert {(mode, prompt) for mode in ("plain", "two:fixed") for prompt in (0, 1)} - there == {stop.rows[-1]}
    report = json.loads((tmp_path / "bench.json").read_text())
    assert [one["tokens"] for one in report["systems"]] == [8, 8]


def test_what_was_measured_is_kept_until_its_report_is_written(
    broken_off: tuple[Stop, tuple[str, ...]], specreg: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    Interrupted while the report is made, or with a full disk under it: the same command has only to write it.
    """
    stop, command = broken_off

    def interrupted(*_given: Any, **_named: Any) -> Any:
        raise KeyboardInterrupt

    def full(_content: bytes, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(benchmark, "report_of", interrupted)
        assert specreg(*command).code == 130
    with monkeypatch.context() as patch:
        patch.setattr("registry.files.wholefile.put_whole", full)
        found = specreg(*command)
        assert found.code == 2
        assert "bench.json.journal" in found.err
    assert specreg(*command).code == 0

    assert len(stop.rows) == 4
    assert sorted(path.name for path in tmp_path.glob("bench.json*")) == ["bench.json"]


def test_what_was_begun_with_other_texts_is_not_gone_on_with(
    broken_off: tuple[Stop, tuple[str, ...]], specreg: Run, tmp_path: Path
) -> None:
    """
    Though their file has as many lines, by whose numbers they are named.
    """
    stop, command = broken_off
    (tmp_path / "prompts.jsonl").write_text(TWO_PROMPTS.replace("def f(", "def g("))

    found = specreg(*command)

    assert found.code == 2
    assert "was begun with other prompts" in found.err
    assert len(stop.rows) == 3


@pytest.mark.parametrize(("dtype", "code"), [("float32", 1), ("bfloat16", 0)])
def test_greedy_text_that_differs_is_a_fault_in_float32(
    specreg: Run, monkeypatch: pytest.MonkeyPatch, dtype: str, code: int
) -> None:
    """
    One of transformers' tokens is spoilt: rounding explains it in bfloat16, and nothing does in float32.
    """
    run = TransformersSystem.run

    def spoilt(system: TransformersSystem, *given: Any, **named: Any) -> Any:
        out = run(system, *given, **named)
        return replace(out, token_ids=[out.token_ids[0] ^ 1, *out.token_ids[1:]])

    monkeypatch.setattr(TransformersSystem, "run", spoilt)

    found = specreg("bench", "pico-target", "pico-target", *SHORT, "--modes", "generate", "--dtype", dtype)

    assert found.code == code
    assert ("generate differ from plain decoding" in found.err) is (code == 1)


def test_a_terminal_sees_what_it_takes_and_how_far_it_is(specreg: Run) -> None:
    """
    One line of memory, for the prompt and its text, then bars while graphs are recorded and while it is measured.
    """
    with terminal() as shown:
        found = specreg(
            "bench", "pico-little", "pico-little", *SHORT, "--modes", "plain:captured", "--engine", "captured"
        )

    assert found.code == 0
    first, rest = shown().split("\n", 1)
    assert re.match(r"pico-little: .* of caches for \d\d positions, .* free on cpu\r$", first)
    assert rest.index("recording") < rest.index("measuring")
    assert "100%" in rest
