"""Facts on terminals of any width."""

from __future__ import annotations

import sys

import click
import pytest

from registry.cli.printing import print_table

COLUMNS = ("mode", "tokens/s", "x plain", "acceptance", "lengths")
ROWS = (("plain", "103.2", "1.00", "-", ""), ("two:fixed", "115.5", "1.12", "0.81", "4"))


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a terminal of 31 columns is told, line by line."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "31")
    print_table(COLUMNS, ROWS)
    return capsys.readouterr().out.splitlines()


def test_a_narrow_terminal_gets_lines(printed: list[str]) -> None:
    """
    No number or name is broken: a row's name stands alone, and below it what there is to say by the columns' names.
    """
    assert printed == [
        "plain",
        "  tokens/s 103.2, x plain 1.00",
        "two:fixed",
        "  tokens/s 115.5, x plain 1.12,",
        "  acceptance 0.81, lengths 4",
    ]


def test_a_long_word_alone_is_no_reason_for_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Digests and paths are folded within the table.
    """
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")

    print_table(("file", "sha256"), [("config.json", "ab" * 32)])

    header, _, *lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert header.split() == ["file", "sha256"]
    assert len(lines) > 1
    assert max(map(len, lines)) <= 40


def test_a_name_is_never_broken(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What a row is called is copied into the next command: where that has no room whole, rows are told in lines; where it
    has, the other columns give way.
    """
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    name = "vicuna-68m--to--tiny-vicuna-1b/exp-weight6-layer3"

    for width in (60, 80, 100):
        monkeypatch.setenv("COLUMNS", str(width))
        print_table(("head", "sha256", "recorded"), [(name, "ab" * 32, "yes")])
        lines = click.unstyle(capsys.readouterr().out).splitlines()
        assert sum(name in line for line in lines) == 1
