"""Payloads, converted one after another as a user would: `python -m tests.convert.attack FOLDER`.

FOLDER holds one head's folder for each payload. What became of them, and how much memory this process, the
parent of the sandbox, took at most, is printed as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TypedDict

from heads.convert import convert_folder
from heads.sandbox import Sandbox
from registry.errors import CheckpointError


class Outcome(TypedDict):
    """How one payload ended, and how long that took: `start_s` before it was read, `seconds` from then on."""

    name: str
    refused: bool
    problem: str
    start_s: float
    seconds: float


def attack(folder: Path, sandbox: Sandbox) -> Outcome:
    """Try to convert one payload."""
    starting = time.monotonic()
    sandbox.start()
    began = time.monotonic()
    try:
        convert_folder(folder, sandbox=sandbox, say=lambda _line: None)
        refused, problem = False, ""
    except CheckpointError as error:
        refused, problem = True, error.problems[0]
    return Outcome(
        name=folder.name,
        refused=refused,
        problem=problem,
        start_s=began - starting,
        seconds=time.monotonic() - began,
    )


def peak_bytes() -> int:
    """The most memory this process has held so far, as this program: Linux's maxrss counts what it was before."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main(place: Path) -> None:
    """Attack with all folders of a place."""
    with Sandbox() as sandbox:
        outcomes = [attack(folder, sandbox) for folder in sorted(place.iterdir())]
    print(json.dumps({"outcomes": outcomes, "peak_bytes": peak_bytes()}))  # noqa: T201 - for whoever started it


if __name__ == "__main__":
    main(Path(sys.argv[1]))
