"""What shapes a text, said to `specreg decode`: the command writes what the Python interface writes with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

import heads.runtime
import registry
from heads import Cascade
from tests.conftest import Outcome

Run = Callable[..., Outcome]
Written = Callable[..., dict[str, Any]]
PROMPT = "def read(path):\n"
NEW = 10
CHAIN = ("decode", "pico-little", "pico-target", "--length", "2", "--prompt", PROMPT)
SAMPLED: dict[str, Any] = {"temperature": 1.3, "seed": 5}
ASKED = ("--temperature", "1.3", "--seed", "5")
TEMPLATE = "{% for one in messages %}# {{ one.role }}: {{ one.content }}{{ '\\n' }}{% endfor %}# answer:"


@pytest.fixture(scope="module")
def chain() -> Cascade:
    """The chain that the command runs."""
    cascade = registry.resolve_pipeline("pico-little", "pico-target", length=2).load(device="cpu")
    assert isinstance(cascade, Cascade)
    return cascade


@pytest.fixture(scope="module")
def usual(chain: Cascade) -> list[int]:
    """What it samples with nothing else said."""
    return chain.generate(PROMPT, max_new_tokens=NEW, **SAMPLED).token_ids


@pytest.fixture
def written(specreg: Run) -> Written:
    """The command's document for some options."""

    def write(*options: str) -> dict[str, Any]:
        found = specreg(*CHAIN, "--device", "cpu", "--max-new-tokens", str(NEW), *options, "--json")
        document: dict[str, Any] = json.loads(found.out)
        return document

    return write


@pytest.mark.parametrize(
    ("option", "value"),
    [("top-k", 2), ("min-p", 0.3), ("repetition-penalty", 2.0)],
    ids=str,
)
def test_a_law_is_the_one_that_was_asked_for(
    chain: Cascade, written: Written, usual: list[int], option: str, value: float
) -> None:
    """
    A sampled text is that of `generate` with the same option, and another than without it.
    """
    law: dict[str, Any] = {option.replace("-", "_"): value}

    found = written(*ASKED, f"--{option}", str(value))["token_ids"]

    assert found == chain.generate(PROMPT, max_new_tokens=NEW, **SAMPLED, **law).token_ids
    assert found != usual


def test_shared_noise_writes_what_the_target_alone_draws(
    chain: Cascade, written: Written, usual: list[int]
) -> None:
    """
    By that seed, token for token, which without the option it does not.
    """
    alone = chain.part([1]).generate(PROMPT, max_new_tokens=NEW, shared_noise=True, **SAMPLED).token_ids

    assert written(*ASKED, "--shared-noise")["token_ids"] == alone != usual


def test_a_text_ends_at_whichever_stop_comes_first(chain: Cascade, written: Written) -> None:
    """
    The option may be repeated; the text still holds what it ended at, and goes no further.
    """
    longest = chain.generate(PROMPT, max_new_tokens=NEW)
    assert longest.text is not None
    middle = longest.text[len(longest.text) // 2 :][:4]

    found = written("--stop", "no such words", "--stop", middle)

    stopped = chain.generate(PROMPT, max_new_tokens=NEW, stop=middle)
    assert (found["token_ids"], found["finish_reason"]) == (stopped.token_ids, "stop")
    assert len(stopped.token_ids) < len(longest.token_ids)


def test_a_chat_is_written_by_the_template(
    chain: Cascade, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The prompt is a user's message then: the text is that of the conversation as the template writes it.
    """
    load = heads.runtime.load_tokenizer

    def templated(*given: Any) -> PreTrainedTokenizerBase:
        tokenizer = load(*given)
        tokenizer.chat_template = TEMPLATE
        return tokenizer

    monkeypatch.setattr("heads.runtime.load_tokenizer", templated)

    found = written("--chat")

    told = chain.generate(f"# user: {PROMPT}\n# answer:", max_new_tokens=NEW)
    assert (found["prompt_tokens"], found["token_ids"]) == (told.prompt_tokens, told.token_ids)


def test_a_chat_without_a_template_is_refused(specreg: Run) -> None:
    """
    The embedded family has none: one sentence, exit code 2.
    """
    found = specreg(*CHAIN, "--chat")

    assert found.code == 2
    assert "the tokenizer has no chat template" in found.err
