"""The standard streams, made fit for whatever a command prints and wherever it goes."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


class _Unread(io.FileIO):
    """What is written to it goes nowhere once its reader has closed it: how the command ends is not the reader's."""

    ends = False  # whether the command is to end with its reader, by BrokenPipeError

    def write(self, data: ReadableBuffer, /) -> int | None:  # type: ignore[override]
        """As a file does, while somebody reads."""
        try:
            return super().write(data)
        except BrokenPipeError:
            if self.ends:
                raise
            return memoryview(data).nbytes


def settle_streams() -> None:
    """Give a command all three streams, let its output hold any text, and let it go on when nobody reads that.

    One that the caller closed (`specreg list >&-`) leads nowhere; in this order each gets its own number again, which
    otherwise the next file that is opened would get. A letter of a model's text that a terminal's encoding does not
    have is written as its number.
    """
    for name, mode in STREAMS:
        stream = getattr(sys, name)
        if stream is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115, PTH123 - to the very end
        elif mode == "w" and isinstance(stream, io.TextIOWrapper) and not stream.isatty():
            stream = _outliving_its_reader(stream)
        if mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, stream)


def end_with_reader() -> None:
    """From now on a command ends, as sound, once nobody reads its stdout: all that it is for is to be read."""
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    if isinstance(raw, _Unread):
        raw.ends = True


def _outliving_its_reader(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """The same stream, buffered as it was."""
    raw = _Unread(stream.fileno(), "wb", closefd=False)
    unbuffered = isinstance(stream.buffer, io.FileIO)  # by `python -u`
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),
        encoding=stream.encoding,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
