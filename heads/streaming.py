"""Tokens handed to a transformers streamer as they are settled, just as plain `generate` hands them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

import torch
from torch import Tensor

from heads.engines.recording import outside_inference
from registry.errors import GenerationError


class Streamer(Protocol):
    """What transformers' streamers are."""

    def put(self, value: Tensor) -> None:
        """First the prompt, (1, T), then each token, (1,); int64, on the CPU."""
        ...

    def end(self) -> None:
        """No more will come."""
        ...


class Stream(AbstractContextManager["Stream"]):
    """Feeds one streamer, or none; tells it the end on every way out, unless the streamer itself failed.

    A reader on the other side is thus never left waiting, and the streamer is ready for another text.

    Raises:
        GenerationError: it is no streamer.
    """

    def __init__(self, streamer: Streamer | None) -> None:
        if streamer is not None and not all(
            callable(getattr(streamer, name, None)) for name in ("put", "end")
        ):
            raise GenerationError(
                option="streamer",
                expected="None, or what has put(tokens) and end(), as the streamers of transformers do",
                found=streamer,
                next_step="transformers.TextStreamer(tokenizer) prints the text as it comes.",
            )
        self._streamer = streamer

    def __enter__(self) -> Self:
        return self

    def prompt(self, token_ids: Sequence[int]) -> None:
        """The prompt, once, first."""
        self._put([token_ids])

    def tokens(self, token_ids: Sequence[int]) -> None:
        """New tokens, one by one."""
        self._put(*([token] for token in token_ids))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._streamer is not None:
            self._streamer.end()

    def _put(self, *values: Sequence[object]) -> None:
        if self._streamer is None:
            return
        try:
            with outside_inference():  # plain generate's tensors can be written to and kept, in any mode
                for value in values:
                    self._streamer.put(torch.tensor(value, dtype=torch.long, device="cpu"))
        except BaseException:
            self._streamer = None
            raise
