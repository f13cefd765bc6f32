"""How `specreg decode` bounds a text, and what it tells of memory and progress on a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.conftest import Outcome

Run = Callable[..., Outcome]
ALONE = ("decode", "pico-little", "pico-little", "--prompt", "def read(path):\n")


def test_max_length_cuts_the_new_tokens_with_a_word(specreg: Run) -> None:
    """
    Prompt and text together are no longer; the word is on stderr, also beside JSON.
    """
    found = specreg(*ALONE, "--max-length", "16", "--json")

    document = json.loads(found.out)
    assert document["prompt_tokens"] + document["new_tokens"] == 16
    assert f"--max-length 16 leaves {document['new_tokens']} of 128 new tokens" in found.err


def test_max_length_that_leaves_room_says_nothing(specreg: Run) -> None:
    """
    What was asked for fits: neither a word nor a token less.
    """
    found = specreg(*ALONE, "--max-new-tokens", "4", "--max-length", "60", "--json")

    assert (json.loads(found.out)["new_tokens"], found.err) == (4, "")


def test_a_prompt_longer_than_max_length_is_refused(specreg: Run) -> None:
    """
    With both numbers, before a model is loaded.
    """
    found = specreg(*ALONE, "--max-length", "3")

    assert found.code == 2
    assert "the prompt must be at most 2 tokens, since --max-length is 3" in found.err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_is_told_of_memory_and_of_graphs() -> None:
    """
    One line before loading, and a bar while graphs are recorded; stdout stays the document.
    """
    import pty

    command = (*ALONE, "--max-new-tokens", "4", "--engine", "captured", "--device", "cpu", "--json")
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "registry", *command], stdout=subprocess.PIPE, stderr=slave
    ) as process:
        os.close(slave)
        told = b""
        while piece := _read(master):
            told += piece
        out, _ = process.communicate(timeout=120)
    os.close(master)

    assert json.loads(out)["new_tokens"] == 4
    first, rest = told.decode().split("\n", 1)
    assert first.startswith("pico-little: 5.1 MB of weights in float32, ")
    assert " of caches for 10 positions, " in first
    assert first.rstrip().endswith("free on cpu")
    assert "recording 1 graph" in rest


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says so when the other end is closed
        return b""
