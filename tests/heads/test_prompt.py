"""What a text begins with, and what a GenerationConfig asks for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase

import registry
from heads import Cascade
from registry.errors import GenerationError
from tests.heads.models import chain

PROMPT = [3, 1, 4, 1, 5]
TEMPLATE = (
    "{% for message in messages %}# {{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}# assistant:{% endif %}"
)


@pytest.fixture(scope="module")
def pico() -> Cascade:
    cascade = registry.resolve_pipeline("pico-little", "pico-target", length=2).load(device="cpu")
    assert isinstance(cascade, Cascade)
    return cascade


@pytest.fixture
def templated(pico: Cascade) -> Cascade:
    """The chain with a tokenizer that knows how to write a conversation."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(pico.tokenizer.name_or_path)  # type: ignore[union-attr]
    tokenizer.chat_template = TEMPLATE
    return Cascade(pico.models, pico.heads, tokenizer)


def test_messages_are_written_by_the_chat_template(templated: Cascade) -> None:
    """
    A conversation is continued as the text its template makes of it, with the answer begun.
    """
    messages = [{"role": "user", "content": "Write a loop."}]

    found = templated.generate(messages, max_new_tokens=12)

    as_text = templated.generate("# user: Write a loop.\n# assistant:", max_new_tokens=12)
    assert found.token_ids == as_text.token_ids
    assert found.prompt_tokens == as_text.prompt_tokens


def test_messages_without_a_template_are_refused(pico: Cascade) -> None:
    """
    The error says that the tokenizer has no chat template, and what to do.
    """
    with pytest.raises(GenerationError, match="no chat template"):
        pico.generate([{"role": "user", "content": "Write a loop."}])


def test_messages_that_the_template_refuses_are_told(templated: Cascade) -> None:
    """
    What the template raises stands in the error.
    """
    assert templated.tokenizer is not None
    templated.tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(GenerationError, match="roles must alternate"):
        templated.generate([{"role": "user", "content": "Write a loop."}])


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"max_new_tokens": 9}, {"max_new_tokens": 9}),
        ({"max_length": 14}, {"max_new_tokens": 9}),
        ({"max_new_tokens": 9, "temperature": 0.5}, {"max_new_tokens": 9, "temperature": 0.0}),
        (
            {
                "max_new_tokens": 9,
                "do_sample": True,
                "temperature": 0.7,
                "top_k": 0,
                "top_p": 0.9,
                "min_p": 0.1,
            },
            {"max_new_tokens": 9, "temperature": 0.7, "top_p": 0.9, "min_p": 0.1},
        ),
        ({"max_new_tokens": 9, "do_sample": True}, {"max_new_tokens": 9, "temperature": 1.0, "top_k": 50}),
        ({"max_new_tokens": 9, "repetition_penalty": 1.3}, {"max_new_tokens": 9, "repetition_penalty": 1.3}),
        (
            {"max_new_tokens": 9, "eos_token_id": list(range(61)), "num_beams": 1, "use_cache": True},
            {"max_new_tokens": 9, "eos_token_id": list(range(61))},
        ),
    ],
    ids=str,
)
def test_a_generation_config_says_what_was_left_out(fields: dict[str, Any], options: dict[str, Any]) -> None:
    """
    The text is the one that the same options give; without do_sample it is greedy.
    """
    cascade = Cascade(chain(count=2))

    found = cascade.generate(PROMPT, generation_config=GenerationConfig(**fields), seed=3)

    assert found.token_ids == cascade.generate(PROMPT, seed=3, **options).token_ids


def test_an_option_given_goes_before_the_config() -> None:
    """
    What is passed by name wins over what the config says.
    """
    cascade = Cascade(chain(count=1))

    out = cascade.generate(PROMPT, max_new_tokens=3, generation_config=GenerationConfig(max_new_tokens=9))

    assert out.new_tokens == 3


@pytest.mark.parametrize(
    "fields",
    [{"num_beams": 4}, {"no_repeat_ngram_size": 2}, {"bad_words_ids": [[1]]}, {"guidance_scale": 2.0}],
)
def test_what_a_cascade_does_not_do_is_refused(fields: dict[str, Any]) -> None:
    """
    A config that asks for beams or another processor gets an error that names the field, not another text.
    """
    with pytest.raises(GenerationError, match=next(iter(fields))):
        Cascade(chain(count=1)).generate(PROMPT, generation_config=GenerationConfig(**fields))


@pytest.mark.parametrize(
    "raw", [b"abc", bytearray(b"abc"), memoryview(b"abc")], ids=lambda raw: type(raw).__name__
)
def test_bytes_are_no_token_ids(pico: Cascade, raw: Any) -> None:
    """
    They are a sequence of integers, but whoever gives them means text: the error says what a prompt is.
    """
    with pytest.raises(GenerationError, match="prompt must be text, chat messages, a list of token ids"):
        pico.generate(raw)


@pytest.mark.parametrize(
    "half", ["x \ud800 y", b"caf\xe9".decode(errors="surrogateescape")], ids=["cut", "terminal"]
)
def test_half_a_character_is_told(templated: Cascade, half: str) -> None:
    """
    Text that no UTF-8 can hold, of a terminal in another encoding for one, is refused as prompt and as message.
    """
    for prompt in (half, [{"role": "user", "content": half}]):
        with pytest.raises(GenerationError, match="prompt must be text that can be written as UTF-8"):
            templated.generate(prompt)


def test_numbers_may_be_numpys(pico: Cascade) -> None:
    """
    What an array holds counts as the number it is, for token ids and for options.
    """
    ids = [40, 41, 42]
    options: dict[str, Any] = {"max_new_tokens": 6, "temperature": 0.5, "max_draft": [3], "threshold": 0.25}
    as_arrays: dict[str, Any] = {"max_new_tokens": np.int64(6), "temperature": np.float32(0.5)}
    as_arrays |= {"max_draft": list(np.array([3])), "threshold": np.float32(0.25)}

    found = pico.generate(list(np.array(ids)), **as_arrays)

    assert found.token_ids == pico.generate(ids, **options).token_ids
