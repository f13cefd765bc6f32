"""What ends a text, token by token."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from heads.stopping import Ending


def ending_of(
    tokenizer: PreTrainedTokenizerFast, *stops: str, end_tokens: frozenset[int] = frozenset()
) -> Ending:
    return Ending(end_tokens=end_tokens, stops=stops, decoder=tokenizer)


@pytest.mark.parametrize(
    ("text", "stops", "kept"),
    [
        ("one two three", ["two"], "one two"),
        ("one two three", ["three", "one t"], "one t"),
        ("aaab", ["ab"], "aaab"),
        ("señor", ["ñ"], "señ"),
        ("a € b", ["€ b"], "a € b"),
        ("nothing", ["missing"], "nothing"),
    ],
)
@pytest.mark.parametrize("step", [1, 3, 100])
def test_a_stop_string_is_found_across_tokens(
    byte_tokenizer: PreTrainedTokenizerFast, text: str, stops: list[str], kept: str, step: int
) -> None:
    """
    Split into bytes, and handed over one by one or many at once: the text ends with the byte that completes it.
    """
    ids = byte_tokenizer(text)["input_ids"]
    ending = ending_of(byte_tokenizer, *stops)
    taken: list[int] = []
    reason = None
    for at in range(0, len(ids), step):
        new, reason = ending.take(ids[at : at + step])
        taken += new
        if reason:
            break

    assert byte_tokenizer.decode(taken) == kept
    assert reason == (None if kept == "nothing" else "stop")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text("abé€", max_size=12), st.lists(st.text("abé€", min_size=1, max_size=3), min_size=1, max_size=2)
)
def test_it_ends_as_soon_as_the_whole_text_would_say(
    byte_tokenizer: PreTrainedTokenizerFast, text: str, stops: list[str]
) -> None:
    """
    The incremental search agrees with decoding all tokens anew after each.
    """
    ids = byte_tokenizer(text)["input_ids"]
    ends = [n for n in range(1, len(ids) + 1) if any(s in byte_tokenizer.decode(ids[:n]) for s in stops)]

    taken, reason = ending_of(byte_tokenizer, *stops).take(ids)

    assert (len(taken), reason) == ((ends[0], "stop") if ends else (len(ids), None))


def test_an_end_token_comes_first(byte_tokenizer: PreTrainedTokenizerFast) -> None:
    """
    A token that ends the text and completes a stop string is an end token.
    """
    ending = ending_of(byte_tokenizer, "<end>", end_tokens=frozenset({257}))

    assert ending.take([5, 257, 9]) == ([5, 257], "eos")


def test_special_tokens_are_text_for_a_stop_string(byte_tokenizer: PreTrainedTokenizerFast) -> None:
    """
    A stop string may be the name of a special token.
    """
    assert ending_of(byte_tokenizer, "<end>").take([5, 257, 9]) == ([5, 257], "stop")
