"""A training that is killed ends with the same head when the command is given again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork and no SIGKILL")
def test_killed_anywhere_it_ends_with_the_same_head(tmp_path: Path) -> None:
    """
    Weights, calibration, evaluation, card and log are the same bytes, whatever step the kill hits.
    """
    prompts = tmp_path / "prompts.jsonl"
    lines = [f"def function_{number}(value):\n    return value"[: 12 + number % 20] for number in range(80)]
    prompts.write_text("".join(json.dumps({"prompt": line}) + "\n" for line in lines))

    found = subprocess.run(
        [sys.executable, "-m", "tests.training.killed", str(prompts), str(tmp_path / "out"), "5"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert told["killed"] == 5
    assert told["different"] == 0
    assert len(told["steps"]) > 1
