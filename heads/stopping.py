"""What ends a text: an end token, or a stop string wherever the tokens happen to split it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Protocol

FinishReason = Literal["length", "eos", "stop"]
INCOMPLETE: Final = "\ufffd"  # how a tokenizer shows a character whose bytes have not all come yet


class Decoder(Protocol):
    """What is asked of a tokenizer here."""

    def decode(
        self, token_ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool
    ) -> str | list[str]:
        """Token ids -> text."""
        ...


class Ending:
    """Watches the new tokens of one text.

    Stop strings are looked for in the new text alone, special tokens included, never across into the prompt.

    Args:
        end_tokens: Each ends the text; it is the last token then.
        stops: Strings; the token that completes one is the last token then.
        decoder: Needed where there are stop strings.
    """

    def __init__(
        self, *, end_tokens: frozenset[int], stops: Sequence[str] = (), decoder: Decoder | None = None
    ) -> None:
        self.end_tokens = end_tokens
        self._stops = tuple(stops)
        self._decoder = decoder
        self._overlap = max((len(text) for text in self._stops), default=1) - 1
        self._ids: list[int] = []
        self._settled = 0  # tokens whose text is in _tail for good
        self._context = (
            0  # where decoding begins anew: one piece earlier, so that spaces come out as in running text
        )
        self._tail = ""

    def take(self, tokens: Sequence[int]) -> tuple[list[int], FinishReason | None]:
        """The tokens up to the end of the text, and what ended it, if anything did."""
        for count, token in enumerate(tokens, start=1):
            if token in self.end_tokens:
                return list(tokens[:count]), "eos"
            if self._stops and self._completes_stop(token):
                return list(tokens[:count]), "stop"
        return list(tokens), None

    def _completes_stop(self, token: int) -> bool:
        self._ids.append(token)
        known = self._decode(self._ids[self._context : self._settled])
        text = self._decode(self._ids[self._context :])
        new = text[len(known) :]
        visible = self._tail + new
        if any(stop in visible for stop in self._stops):
            return True
        if new and not new.endswith(INCOMPLETE):
            self._context, self._settled = self._settled, len(self._ids)
            self._tail = visible[-self._overlap :] if self._overlap else ""
        return False

    def _decode(self, ids: list[int]) -> str:
        if self._decoder is None or not ids:
            return ""
        text = self._decoder.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text if isinstance(text, str) else "".join(text)
