"""One text, from its first round to its last."""

from __future__ import annotations

from collections.abc import Callable

from heads.rounds import Rounds
from heads.stopping import Ending, FinishReason


def decode(
    rounds: Rounds, ending: Ending, max_new_tokens: int, settle: Callable[[list[int]], None]
) -> tuple[list[int], FinishReason]:
    """Round after round of the top level, until the text ends; `settle` gets the tokens as they come."""
    tokens: list[int] = []
    while len(tokens) < max_new_tokens:
        new, reason = ending.take(rounds.commit(max_new_tokens - len(tokens)))
        tokens += new
        settle(new)
        if reason is not None:
            return tokens, reason
    return tokens, "length"
