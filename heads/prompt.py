"""What a text begins with: text, chat messages or token ids, as token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from heads.sending import is_listed
from heads.settings import RAW
from registry.errors import GenerationError

Prompt = str | Sequence[int] | Sequence[Mapping[str, Any]] | Tensor


def prompt_ids(prompt: Prompt, tokenizer: PreTrainedTokenizerBase | None, *, vocab_size: int) -> list[int]:
    """Token ids of a prompt, at least one, each below `vocab_size`.

    Raises:
        GenerationError: it is no prompt, needs a tokenizer or chat template that is not there, or is empty where
            no begin token can stand for it.
    """
    if isinstance(prompt, str):
        ids = [int(token) for token in _needed(tokenizer, "text")(_writable(prompt))["input_ids"]]
    elif _is_chat(prompt):
        ids = _chat_ids(_needed(tokenizer, "chat messages"), prompt)
    else:
        ids = _listed(prompt)
    if not ids:
        begin = getattr(tokenizer, "bos_token_id", None)
        if not isinstance(begin, int):
            raise GenerationError(
                option="prompt",
                expected="at least one token, since there is no begin token to stand for an empty one",
                found=prompt,
            )
        ids = [begin]
    for token in ids:
        if not 0 <= token < vocab_size:
            raise GenerationError(option="prompt", expected=f"token ids below {vocab_size}", found=token)
    return ids


def _needed(tokenizer: PreTrainedTokenizerBase | None, found: str) -> PreTrainedTokenizerBase:
    if tokenizer is None:
        raise GenerationError(
            option="prompt",
            expected="token ids, since this cascade has no tokenizer",
            found=found,
            next_step="Give Cascade a tokenizer.",
        )
    return tokenizer


def _is_chat(prompt: object) -> bool:
    return isinstance(prompt, Sequence) and bool(prompt) and all(isinstance(one, Mapping) for one in prompt)


def _chat_ids(tokenizer: PreTrainedTokenizerBase, messages: Any) -> list[int]:
    """The template's text with the opening of the answer behind it, encoded without further special tokens."""
    if not tokenizer.chat_template:
        raise GenerationError(
            option="prompt",
            expected="text or token ids, since the tokenizer has no chat template",
            found="chat messages",
            next_step="Set tokenizer.chat_template, or write the prompt out as text.",
        )
    try:
        text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    except (ValueError, TypeError, KeyError, TemplateError) as error:
        raise GenerationError(
            option="prompt", expected="messages as the chat template takes them", found=str(error)
        ) from error
    return [int(token) for token in tokenizer(_writable(str(text)), add_special_tokens=False)["input_ids"]]


def _writable(text: str) -> str:
    """The text, which no tokenizer reads where it holds half a character: bytes of a terminal that are no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise GenerationError(
            option="prompt",
            expected="text that can be written as UTF-8",
            found=text[error.start : error.end],
            next_step="It holds half of a character: give the text as it was before it was cut or wrongly decoded.",
        ) from error
    return text


def _is_id(token: object) -> bool:
    return isinstance(token, Integral) and not isinstance(token, bool)


def _listed(prompt: object) -> list[int]:
    """Token ids of one text from a list, a (T,) or a (1, T) tensor."""
    expected = "text, chat messages, a list of token ids, or a (T,) or (1, T) tensor of them"
    if isinstance(prompt, Tensor):
        shape = tuple(prompt.shape) if is_listed(prompt) else ()
        if prompt.dtype != torch.long or len(shape) not in (1, 2) or (len(shape) == 2 and shape[0] != 1):
            raise GenerationError(option="prompt", expected=expected, found=_described(prompt))
        return [int(token) for token in prompt.reshape(-1).tolist()]
    if isinstance(prompt, Sequence) and not isinstance(prompt, RAW) and all(map(_is_id, prompt)):
        return [int(token) for token in prompt]
    raise GenerationError(option="prompt", expected=expected, found=prompt)


def _described(tensor: Tensor) -> str:
    if not is_listed(tensor):
        return f"a tensor on {tensor.device}, {tensor.layout}{', nested' if tensor.is_nested else ''}"
    return f"a tensor {tuple(tensor.shape)} of {tensor.dtype}"
