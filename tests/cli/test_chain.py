"""`specreg chain`, as a user and as another program see it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Outcome

Run = Callable[..., Outcome]


def test_names_three_models_and_their_roles(specreg: Run) -> None:
    """
    The published Qwen3 chain is little, draft, target, in the contract's JSON.
    """
    found = specreg("chain", "qwen3-0.6b", "qwen3-14b", "--json")

    document = json.loads(found.out)
    assert found.code == 0
    assert document["models"] == ["qwen3-0.6b", "qwen3-1.7b", "qwen3-14b"]
    assert document["roles"] == {"little": "qwen3-0.6b", "draft": "qwen3-1.7b", "target": "qwen3-14b"}
    assert document["heads"][0] == {
        "source": "qwen3-0.6b",
        "target": "qwen3-1.7b",
        "run": "exp-weight6-layer3",
        "installed": False,
        "path": None,
    }
    assert document["small_draft_acc_head_path"] is None
    assert document["draft_target_acc_head_path"] is None
    assert document["compatible"] is True
    assert {"check", "subject", "status", "detail"} == set(document["findings"][0])


def test_what_is_not_here_is_unknown(specreg: Run) -> None:
    """
    A hidden size that no file on this machine tells is unknown, never a pass.
    """
    document = json.loads(specreg("chain", "qwen3-0.6b", "qwen3-14b", "--json").out)

    sizes = [finding for finding in document["findings"] if finding["check"] == "hidden_size"]
    assert {finding["status"] for finding in sizes} == {"unknown"}


def test_what_is_here_passes(specreg: Run) -> None:
    """
    The embedded family's files answer every question.
    """
    document = json.loads(specreg("chain", "pico-little", "pico-target", "--json").out)

    assert {finding["status"] for finding in document["findings"]} == {"pass"}
    assert all(head["installed"] and Path(head["path"]).is_dir() for head in document["heads"])


def test_two_models_have_one_head_path(specreg: Run) -> None:
    """
    Draft and target alone leave out the little model's key.
    """
    document = json.loads(specreg("chain", "qwen3-0.6b", "qwen3-1.7b", "--json").out)

    assert "small_draft_acc_head_path" not in document
    assert document["roles"] == {"draft": "qwen3-0.6b", "target": "qwen3-1.7b"}


def test_all_lists_every_chain_best_first(specreg: Run) -> None:
    """
    The embedded family has a choice, and three models come first.
    """
    document = json.loads(specreg("chain", "pico-little", "pico-target", "--all", "--json").out)

    assert [chain["models"] for chain in document["chains"]] == [
        ["pico-little", "pico-draft", "pico-target"],
        ["pico-little", "pico-target"],
    ]


@pytest.mark.parametrize(
    ("options", "models"),
    [
        (("--length", "2"), ["pico-little", "pico-target"]),
        (("--via", "pico-draft"), ["pico-little", "pico-draft", "pico-target"]),
        (("--run", "exp-weight6-layer3"), ["pico-little", "pico-draft", "pico-target"]),
    ],
    ids=["length", "via", "run"],
)
def test_options_narrow(specreg: Run, options: tuple[str, ...], models: list[str]) -> None:
    """
    Length, via and run each choose among the chains.
    """
    document = json.loads(specreg("chain", "pico-little", "pico-target", *options, "--json").out)

    assert document["models"] == models


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("qwen3-14b", "qwen3-0.6b"), 1, "other way round"),
        (("qwen3-0.6b", "llama-2-13b"), 1, "reaches qwen3-1.7b"),
        (("qwen3-0.6", "qwen3-14b"), 1, "Did you mean 'qwen3-0.6b'"),
        (("stranger/qwen3-0.6b", "qwen3-14b"), 1, "No model is called 'stranger/qwen3-0.6b'"),
        (("qwen3-14b", "qwen3-14b"), 2, "decodes with the model alone"),
        (("qwen3-0.6b",), 2, "Missing argument"),
        (("qwen3-0.6b", "qwen3-14b", "--length", "5"), 1, "5"),
    ],
    ids=["reversed", "no path", "typo", "stranger", "same", "usage", "length"],
)
def test_says_why_there_is_none(specreg: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    """
    Each refusal has its exit code and its reason on stderr, and nothing on stdout.
    """
    found = specreg("chain", *arguments)

    assert found.code == code
    assert said in found.err
    assert found.out == ""
    assert "Traceback" not in found.err


def test_a_pipe_gets_plain_lines(specreg: Run) -> None:
    """
    Away from a terminal there are tabs and no colours or boxes.
    """
    found = specreg("chain", "qwen3-0.6b", "qwen3-14b")

    assert "little\tqwen3-0.6b" in found.out
    assert "\x1b" not in found.out
    assert "─" not in found.out


def test_loads_neither_torch_nor_transformers() -> None:
    """
    In a fresh interpreter the command runs without the libraries that take seconds to load.
    """
    code = (
        "import sys; from registry.cli import main\n"
        "try: main(['chain', 'qwen3-0.6b', 'qwen3-14b', '--json'])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'sqlmodel', 'numpy', 'safetensors', 'rich'}\n"
        "found = heavy & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_answers_in_three_times_the_bare_imports() -> None:
    """
    Least CPU time of the command against that of importing click, pydantic and yaml, taken in turns.
    """
    bare = [sys.executable, "-c", "import click, pydantic, yaml"]
    command = [
        sys.executable,
        "-c",
        "from registry.cli import main; main(['chain', 'qwen3-0.6b', 'qwen3-14b'])",
    ]
    times: dict[str, list[float]] = {"bare": [], "command": []}
    for _ in range(9):
        times["bare"].append(_cpu_seconds(bare))
        times["command"].append(_cpu_seconds(command))

    assert min(times["command"]) <= 3 * min(times["bare"]), times


def _cpu_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def test_answers_within_seconds_of_wall_time() -> None:
    """
    Whatever else the machine does, a person does not wait.
    """
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "registry", "chain", "qwen3-0.6b", "qwen3-14b"],
        check=True,
        capture_output=True,
    )

    assert time.monotonic() - started < 10
