"""What `specreg decode` refuses it refuses at once: before files are read, and where it can before torch is here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.conftest import Outcome

Run = Callable[..., Outcome]
CHAIN = ("decode", "pico-little", "pico-target", "--prompt", "def read(path):\n", "--max-new-tokens", "24")


@pytest.mark.parametrize(
    "given",
    [
        ("--threshold", "3"),
        ("--temperature", "-1"),
        ("--top-p", "3"),
        ("--seed", "-1"),
        ("--max-draft", "0"),
        ("--max-draft", "2", "--max-draft", "3", "--max-draft", "4"),
        ("--stop", ""),
    ],
    ids=" ".join,
)
def test_an_option_out_of_range_is_refused_before_anything_is_read(
    specreg: Run, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...]
) -> None:
    """
    No tokenizer, no weights, and nothing compiled: the option alone is wrong.
    """

    def read(*_given: Any, **_options: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr("heads.runtime.load_tokenizer", read)

    found = specreg(*CHAIN, *given)

    assert found.code == 2
    assert found.err.startswith(f"specreg: {given[0].removeprefix('--').replace('-', '_')} must be")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--auto", "pico-targt"), "No model is called 'pico-targt'"),
        (("qwen1.5-0.5b-chat", "qwen1.5-1.8b-chat"), "not on this machine"),
    ],
    ids=["a name misspelt", "files that are not here"],
)
def test_what_needs_no_torch_is_refused_without_it(arguments: tuple[str, ...], said: str) -> None:
    """
    Importing it takes seconds, for a sentence that it has no part in.
    """
    code = (
        "import sys; from registry.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    print('torch' in sys.modules)"
    )

    command = [sys.executable, "-c", code, "decode", *arguments, "--prompt", "x"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)

    assert said in found.stderr
    assert found.stdout == "False\n"


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="that device is here")
def test_a_device_that_is_not_here_is_told_in_one_sentence(specreg: Run) -> None:
    """
    Of what torch says the first one: it goes on about its own build.
    """
    found = specreg(*CHAIN, "--device", "mps")

    assert found.code == 2
    assert found.err.startswith("specreg: No device 'mps' here: ")
    assert found.err.endswith("Expected 'cpu', or 'cuda' where torch finds a GPU.\n")
    assert len(found.err) < 300
