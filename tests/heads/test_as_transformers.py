"""What transformers' own generate writes and streams, against what a cascade does with the same config."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast, TextStreamer

from heads import Cascade
from registry.errors import GenerationError
from tests.heads.models import VOCAB, chain, noisy, random_head, tiny

NO_TOKEN = 10_000  # stands for "nothing ends the text": transformers does not take an empty list


class Kept:
    """A streamer that keeps what it is handed."""

    def __init__(self) -> None:
        self.values: list[tuple[tuple[int, ...], torch.dtype, list[Any]]] = []
        self.ends = 0

    def put(self, value: Tensor) -> None:
        self.values.append((tuple(value.shape), value.dtype, value.tolist()))

    def end(self) -> None:
        self.ends += 1


class Printed(TextStreamer):
    """A TextStreamer that keeps its text instead of printing it."""

    text = ""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:  # noqa: ARG002
        self.text += text


@functools.cache
def cascade_of(family: str, count: int) -> Cascade:
    """The last `count` models of a chain of three, a head on every other edge."""
    heads = [random_head() if index % 2 == 0 else None for index in range(count - 1)]
    return Cascade(chain(family)[3 - count :], heads)


@functools.cache
def bytewise() -> list[PreTrainedModel]:
    """A chain over bytes, the begin and the end token."""
    target = tiny(vocab_size=258, seed=5, initializer_range=0.15)
    return [noisy(target), target]


def written(
    model: PreTrainedModel, ids: list[int], config: GenerationConfig, tokenizer: Any = None
) -> tuple[list[int], Kept]:
    """What transformers writes, and what it hands to a streamer."""
    streamer, prompt = Kept(), torch.tensor([ids])
    generate: Any = model.generate
    found = generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        generation_config=config,
        streamer=streamer,
        tokenizer=tokenizer,
    )
    return found[0, len(ids) :].tolist(), streamer


PROMPTS = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=12)
ENDS = st.one_of(
    st.just(NO_TOKEN), st.integers(0, VOCAB - 1), st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=8)
)


@settings(max_examples=25)
@given(
    family=st.sampled_from(["llama", "qwen3", "gpt_neox", "gemma2"]),
    count=st.integers(1, 3),
    ids=PROMPTS,
    ends=ENDS,
    penalty=st.sampled_from([None, 0.7, 1.0, 1.3, 5.0]),
    length=st.integers(1, 16),
    whole=st.booleans(),
    drafted=st.integers(1, 6),
)
def test_a_cascade_writes_and_streams_what_transformers_does(
    family: str,
    count: int,
    ids: list[int],
    ends: int | list[int],
    penalty: float | None,
    length: int,
    whole: bool,
    drafted: int,
) -> None:
    """
    Token for token, for any config of greedy decoding, by one model, two or three.
    """
    bound = {"max_length": len(ids) + length} if whole else {"max_new_tokens": length}
    config = GenerationConfig(eos_token_id=ends, repetition_penalty=penalty, **bound)
    cascade = cascade_of(family, count)
    expected, streamed = written(cascade.models[-1], ids, config)
    ours = Kept()

    out = cascade.generate(ids, generation_config=config, streamer=ours, max_draft=drafted)

    assert out.token_ids == expected
    assert (ours.values, ours.ends) == (streamed.values, streamed.ends)


@pytest.mark.parametrize(("ids", "length"), [([7, 44], 1), ([33, 80, 5], 2), ([200], 2)])
def test_a_stop_string_ends_where_transformers_ends(
    byte_tokenizer: PreTrainedTokenizerFast, ids: list[int], length: int
) -> None:
    """
    For a string that the text itself will hold, and that the prompt has no part in; the text is what is streamed.
    """
    cascade = Cascade(bytewise(), None, byte_tokenizer)
    ids = [*ids, byte_tokenizer.bos_token_id]  # transformers lets a stop string begin in the prompt
    plain = cascade.generate(ids, max_new_tokens=24, eos_token_id=[])
    # random bytes: the longest piece that is text
    stop = max(str(byte_tokenizer.decode(plain.token_ids)).split("\ufffd"), key=len)[-length:]
    config = GenerationConfig(max_new_tokens=24, eos_token_id=NO_TOKEN, stop_strings=[stop])
    expected, _ = written(cascade.models[-1], ids, config, byte_tokenizer)
    streamer = Printed(byte_tokenizer, skip_prompt=True, skip_special_tokens=True)

    out = cascade.generate(ids, generation_config=config, streamer=streamer)

    assert (out.token_ids, out.finish_reason) == (expected, "stop")
    assert out.text == streamer.text == byte_tokenizer.decode(expected, skip_special_tokens=True)


@pytest.mark.parametrize("streamer", [object(), [], "stdout"], ids=["object", "list", "text"])
def test_what_is_no_streamer_is_told(streamer: Any) -> None:
    """
    The error says what a streamer is, before anything is decoded.
    """
    with pytest.raises(GenerationError, match="streamer must be None, or what has put"):
        cascade_of("llama", 1).generate([1, 2], streamer=streamer)
