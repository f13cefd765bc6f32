"""Wherever the standard streams go, a command ends as it should."""

from __future__ import annotations

import os
import subprocess
import sys


def test_closed_streams_are_no_fault() -> None:
    """
    What asks whether a stream is a terminal asks also where there is none.
    """
    line = '"$@" chain pico-little pico-target <&- >&- 2>&-'
    ended = subprocess.run(["/bin/sh", "-c", line, "sh", sys.executable, "-m", "registry"], check=False)

    assert ended.returncode == 0


def test_a_text_that_the_encoding_lacks_does_not_end_a_command() -> None:
    """
    A model's text may hold any letter; those that a terminal of Latin letters lacks are written as their numbers.
    """
    code = "from registry.cli.streams import settle_streams as settle; settle(); print('\\ufffd \\udcff')"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.stdout, ended.stderr) == ("\\ufffd \\udcff\n", "")
