"""`specreg decode` on the embedded family: the main job."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import pytest

from registry.cli import main
from tests.conftest import Outcome

Run = Callable[..., Outcome]
SCHEDULES: dict[str, tuple[str, ...]] = {
    "default": (),
    "top-head": ("--schedule", "top-head"),
    "fixed": ("--fixed", "3"),
    "heuristic": ("--schedule", "heuristic"),
    "confidence": ("--schedule", "confidence"),
}
CHAIN = ("decode", "pico-little", "pico-target", "--prompt", "def read(path):\n", "--max-new-tokens", "24")


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the chain says as it stands, in JSON."""
    printed = StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setenv("SPECREG_HOME", str(tmp_path_factory.mktemp("usual")))
        with pytest.raises(SystemExit):
            main((*CHAIN, "--json"))
    told: dict[str, Any] = json.loads(printed.getvalue())
    return told


def test_three_levels_write_what_the_target_alone_writes(specreg: Run, usual: dict[str, Any]) -> None:
    """
    Greedy text of the chain is that of the target by itself, token for token.
    """
    chain = usual
    alone = json.loads(specreg("decode", "pico-target", *CHAIN[2:], "--json").out)

    assert chain["token_ids"] == alone["token_ids"]
    assert [level["model"] for level in chain["levels"]] == ["pico-little", "pico-draft", "pico-target"]
    assert [level["model"] for level in alone["levels"]] == ["pico-target"]
    assert chain["levels"][2]["forwards"] < alone["levels"][0]["forwards"]


def test_json_is_the_contract(specreg: Run) -> None:
    """
    The document has the promised keys, and its counts agree with each other.
    """
    found = specreg(*CHAIN, "--json")

    document = json.loads(found.out)
    assert set(document) == {
        "text",
        "token_ids",
        "prompt_tokens",
        "new_tokens",
        "seconds",
        "tokens_per_second",
        "finish_reason",
        "levels",
        "drafting",
    }
    assert document["new_tokens"] == len(document["token_ids"]) == 24
    assert document["finish_reason"] == "length"
    assert document["levels"][-1]["proposed"] is None
    assert document["levels"][0]["accepted"] <= document["levels"][0]["proposed"]


def test_streams_the_text_to_stdout_and_the_rest_to_stderr(specreg: Run, usual: dict[str, Any]) -> None:
    """
    Without --json stdout holds the text alone, and stderr one line of what each level did.
    """
    text = usual["text"]
    found = specreg(*CHAIN)

    assert found.code == 0
    assert found.out.strip() == text.strip()
    summary = found.err.strip().splitlines()[-1]
    assert "pico-draft" in summary
    assert "forwards" in summary


def test_it_is_told_how_a_text_was_drafted(specreg: Run) -> None:
    """
    Lengths with their origin, and the heads that were asked, with the numbers that they decided by: raw ones would be
    called so. Where no head was asked, none is told of.
    """
    short = (*CHAIN[:-1], "2")
    little, draft = ("pico-little--to--pico-draft", "pico-draft--to--pico-target")
    run = "exp-weight6-layer3 (calibrated"

    found = {name: specreg(*short, *options).err for name, options in SCHEDULES.items()}

    assert "lengths: up to 8 at 0.5, up to 8 at 0.5 (default); heads: " in found["default"]
    assert f"{little}/{run}" in found["default"]
    assert f"{draft}/{run}" in found["default"]
    assert "lengths: 8, up to 8 at 0.5 (option); heads: " in found["top-head"]
    assert little not in found["top-head"]
    assert "lengths: 3, 3 (option)\n" in found["fixed"]
    assert "lengths: up to 8, up to 8, by what was kept (option)\n" in found["heuristic"]
    assert "by the models' confidence (option)\n" in found["confidence"]


def test_programs_are_told_how_a_text_was_drafted(specreg: Run, usual: dict[str, Any]) -> None:
    """
    Per edge in JSON; a threshold that nobody is held against is null, and a head that is not asked too.
    """
    drafting = usual["drafting"]
    fixed = json.loads(specreg(*CHAIN[:-1], "2", "--fixed", "3", "--json").out)["drafting"]

    assert (drafting["schedule"], drafting["from"]) == ("heads", "default")
    assert [edge["max_draft"] for edge in drafting["edges"]] == [8, 8]
    assert [edge["threshold"] for edge in drafting["edges"]] == [0.5, 0.5]
    assert drafting["edges"][0]["head"] == "pico-little--to--pico-draft/exp-weight6-layer3"
    assert (fixed["schedule"], fixed["from"]) == ("fixed", "option")
    assert [(edge["max_draft"], edge["threshold"], edge["head"]) for edge in fixed["edges"]] == [
        (3, None, None),
        (3, None, None),
    ]


def test_a_seed_repeats_a_sample(specreg: Run) -> None:
    """
    The same seed gives the same tokens, another one others.
    """
    sampled = (*CHAIN, "--temperature", "1", "--json", "--seed")

    first, again, other = (json.loads(specreg(*sampled, seed).out)["token_ids"] for seed in ("1", "1", "2"))

    assert first == again != other


@pytest.mark.parametrize(
    "options",
    [("--fixed", "3"), ("--length", "2"), ("--max-draft", "2", "--max-draft", "5"), ("--threshold", "0.9")],
    ids=["fixed", "two levels", "per edge", "threshold"],
)
def test_drafting_options_leave_greedy_text_alone(
    specreg: Run, usual: dict[str, Any], options: tuple[str, ...]
) -> None:
    """
    However drafting is set, the text stays the target's.
    """
    assert json.loads(specreg(*CHAIN, *options, "--json").out)["token_ids"] == usual["token_ids"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("decode", "pico-little", "pico-target", "--prompt", ""), "A prompt is needed"),
        ((*CHAIN, "--fixed", "3", "--threshold", "0.5"), "one or the other"),
        ((*CHAIN, "--temperature", "-1"), "temperature"),
        ((*CHAIN, "--top-p", "1.5"), "top_p"),
        ((*CHAIN, "--device", "abacus"), "No device 'abacus'"),
        ((*CHAIN[:-1], "5000"), "1024"),
        (("decode", "qwen3-0.6b", "qwen3-14b", "--prompt", "x"), "not on this machine"),
        ((*CHAIN, "--fixed", "3", "--schedule", "heads"), "one or the other"),
    ],
    ids=[
        "no prompt",
        "fixed and threshold",
        "temperature",
        "top-p",
        "device",
        "too long",
        "not here",
        "fixed and heads",
    ],
)
def test_what_cannot_be_done_ends_with_2(specreg: Run, arguments: tuple[str, ...], said: str) -> None:
    """
    Options out of range and models that are not here: one sentence, exit code 2.
    """
    found = specreg(*arguments)

    assert found.code == 2
    assert said in found.err
    assert "Traceback" not in found.err


def test_what_cannot_be_fused_is_captured_and_said(
    specreg: Run, usual: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    As on a machine without a compiler: each model is named, with the reason, and the text is the same.
    """

    def fail(*_given: Any, **_options: Any) -> Any:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr("heads.engines.fusion.torch.compile", fail)

    found = specreg(*CHAIN, "--json", "--engine", "fused")

    assert json.loads(found.out)["token_ids"] == usual["token_ids"]
    for model in ("pico-little", "pico-draft", "pico-target"):
        assert (
            f"specreg: {model} runs otherwise than was asked: it cannot be fused: RuntimeError: no c"
            in found.err
        )
