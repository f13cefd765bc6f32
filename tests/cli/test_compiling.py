"""Steps that take minutes are told of, in a pipe too."""

from __future__ import annotations

import pytest

from registry.cli.compiling import compiled


def test_nobody_waits_for_minutes_without_a_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A line says how many graphs there are, further ones how many are done, and the last one that it is over.
    """
    monkeypatch.setattr("registry.cli.compiling.SILENT_S", 0.0)

    with compiled(3, "recording 3 graphs") as told:
        for _ in range(3):
            told("")

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert "recording 3 graphs: torch compiles" in lines[0]
    assert "1 of 3 after" in lines[1]
    assert "done after" in lines[-1]
