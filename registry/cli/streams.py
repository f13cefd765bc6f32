"""The standard streams, made fit for whatever a command prints and wherever it goes."""

from __future__ import annotations

import io
import os
import sys

STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def settle_streams() -> None:
    """Give a command all three streams, and let its output hold any text.

    One that the caller closed (`specreg list >&-`) leads nowhere; in this order each gets its own number again, which
    otherwise the next file that is opened would get. A letter of a model's text that a terminal's encoding does not
    have is written as its number.
    """
    for name, mode in STREAMS:
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - to the very end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
