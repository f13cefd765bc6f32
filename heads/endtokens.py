"""Which tokens end a text: those that were asked for, else those of the model or its tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Final

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from heads.sending import is_listed
from heads.settings import RAW
from registry.errors import GenerationError

MAX_ID: Final = 2**63 - 1  # of what torch holds; ids past the vocabulary never come up, and end nothing


def end_tokens_of(
    given: object, target: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None
) -> frozenset[int]:
    """The end tokens of a text.

    Args:
        given: A token id, a list or a tensor of them; None takes them from the target's generation config, else from
            its config, else from the tokenizer; an empty list is none.

    Raises:
        GenerationError: it is something else.
    """
    places = (target.generation_config, target.config.get_text_config(decoder=True), tokenizer)
    said = (getattr(place, "eos_token_id", None) for place in places)
    found = given if given is not None else next((one for one in said if one is not None), [])
    listed: list[object] = [found]
    if isinstance(found, Tensor) and is_listed(found):
        listed = found.reshape(-1).tolist()
    elif isinstance(found, Sequence) and not isinstance(found, RAW):
        listed = list(found)
    # numpy's are integers, too
    ids = [int(token) for token in listed if not isinstance(token, bool) and isinstance(token, Integral)]
    all_are_ids = len(ids) == len(listed)
    if given is None:  # some configs write -1 for none
        ids = [token for token in ids if token >= 0]
    if not all_are_ids or any(not 0 <= token <= MAX_ID for token in ids):
        raise GenerationError(
            option="eos_token_id", expected="None, a token id, or a list of token ids", found=found
        )
    return frozenset(ids)
