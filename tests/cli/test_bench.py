"""`specreg bench` from the outside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Outcome

Run = Callable[..., Outcome]
SHORT = ("--category", "python", "--limit", "1", "--repeats", "1", "--max-new-tokens", "12")


def test_the_report_says_where_it_comes_from(specreg: Run, tmp_path: Path) -> None:
    """
    The JSON holds versions, machine, prompts and settings beside each system's figures, and the table the same speeds.
    """
    out = tmp_path / "bench.json"

    found = specreg(
        "bench", "pico-little", "pico-target", *SHORT, "--modes", "three:heads,assisted", "--json", str(out)
    )

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


def test_an_unknown_mode_is_named(specreg: Run) -> None:
    """
    Before anything is measured: which ways there are.
    """
    found = specreg("bench", "pico-draft", "pico-target", *SHORT, "--modes", "clever")

    assert found.code == 2
    assert "'clever'" in found.err
    assert "two:heads" in found.err
