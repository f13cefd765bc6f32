"""`python -m tests`: formatting, lint, types and tests, in this order, ending at the first that fails.

The tests run in as many processes as there are cores, four at most. With arguments, pytest gets those and no others.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parent.parent
WORKERS = min(os.cpu_count() or 1, 4)
SHARED = ("-n", str(WORKERS), "--dist", "worksteal") if WORKERS > 1 and find_spec("xdist") else ()
STEPS = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    ("mypy",),
    ("pytest", *(sys.argv[1:] or SHARED)),
)


def main() -> int:
    """Run every step in the project's root; 0 when all pass, else the exit code of the first that does not."""
    environment = {"OMP_NUM_THREADS": "1", **os.environ}  # tiny tensors gain nothing from threads
    for tool, *arguments in STEPS:
        sys.stdout.write(f"== {' '.join((tool, *arguments))}\n")
        sys.stdout.flush()
        started = time.monotonic()
        outcome = subprocess.run(
            [sys.executable, "-m", tool, *arguments], cwd=ROOT, check=False, env=environment
        ).returncode
        sys.stdout.write(f"== {tool}: {time.monotonic() - started:.0f} s, exit {outcome}\n")
        if outcome:
            return outcome
    return 0


if __name__ == "__main__":
    sys.exit(main())
