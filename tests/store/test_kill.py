"""A process that is killed while it writes leaves a store that works, with all that it had acknowledged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_kill_at_any_moment_loses_nothing(folder: Path) -> None:
    """
    kill -9 while the store is made and while it is written: every acknowledged write is there.
    """
    del folder
    ended = subprocess.run(
        [sys.executable, "-m", "tests.store.killed", "8", "1"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )

    told = json.loads(ended.stdout)
    assert told["kills"] == 8
    assert told["acknowledged"] > 8
    assert (told["lost"], told["unsound"]) == (0, 0)
