"""How `specreg decode` bounds a text, and what it tells of memory and progress on a terminal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable

import pytest
import torch

from tests.cli.terminal import terminal
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
    assert f"--max-length 16 leaves room for {document['new_tokens']} of 128 new tokens" in found.err


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
def test_a_terminal_is_told_of_memory_and_of_graphs(specreg: Run) -> None:
    """
    One line before loading, and a bar while graphs are recorded; stdout stays the document.
    """
    with terminal() as shown:
        found = specreg(*ALONE, "--max-new-tokens", "4", "--engine", "captured", "--device", "cpu", "--json")

    assert json.loads(found.out)["new_tokens"] == 4
    first, rest = shown().split("\n", 1)
    assert first.startswith("pico-little: 5.1 MB of weights in float32, ")
    assert " of caches for 10 positions, " in first
    assert first.rstrip().endswith("free on cpu")
    assert "recording 1 graph" in rest


@pytest.mark.parametrize("command", ["decode", "bench", "tune", "measure", "doctor"])
def test_only_options_of_the_command_are_recommended(
    specreg: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """
    Where memory does not suffice; commands differ in how they say where a chain lies and how long texts are.
    """
    monkeypatch.setattr(
        "heads.placement.free_bytes", lambda _: 50_000_000
    )  # some 250 positions of these models
    monkeypatch.setattr("heads.placement.devices", lambda: [torch.device("cpu"), torch.device("mps")])
    prompt = ("--prompt", "a") if command == "decode" else ()

    found = specreg(
        command, "pico-draft", "pico-target", *prompt, "--max-new-tokens", "900", "--dtype", "float32"
    )

    assert found.code == 2
    recommended = re.findall(r"--[a-z-]+", found.err.partition("It fits with ")[2])
    known = specreg(command, "--help").out
    assert recommended
    assert [option for option in recommended if option not in known] == []
