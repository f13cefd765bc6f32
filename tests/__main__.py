"""`python -m tests`: formatting, lint, types and tests, in this order, ending at the first that fails."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
STEPS = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    ("mypy",),
    ("pytest", *sys.argv[1:]),
)


def main() -> int:
    """Run every step in the project's root; 0 when all pass, else the exit code of the first that does not."""
    for tool, *arguments in STEPS:
        sys.stdout.write(f"== {' '.join((tool, *arguments))}\n")
        sys.stdout.flush()
        started = time.monotonic()
        outcome = subprocess.run([sys.executable, "-m", tool, *arguments], cwd=ROOT, check=False).returncode
        sys.stdout.write(f"== {tool}: {time.monotonic() - started:.0f} s, exit {outcome}\n")
        if outcome:
            return outcome
    return 0


if __name__ == "__main__":
    sys.exit(main())
