"""Promise 2: a pickle is opened in the sandbox alone, and nothing in it is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.convert.attack import Outcome, attack
from tests.convert.payloads import PASS, PAYLOADS, RUN, write
from tests.convert.rooms import warm

pytestmark = [
    pytest.mark.promises,
    pytest.mark.skipif(sys.platform == "win32", reason="the limits are those of POSIX"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
]
ROOT = Path(__file__).parent.parent.parent
MOST_BYTES = 500_000_000
MOST_S = 10.0


def planted(place: Path, names: Sequence[str], canary: Path) -> None:
    """A folder for each payload."""
    for name in names:
        write(place / name.replace(" ", "-"), PAYLOADS[name](canary))


def test_no_payload_is_run(
    tmp_path: Path, in_full: bool, times: Callable[[int, int], int], figure: Callable[[int, str], None]
) -> None:
    """
    Every payload is refused with its reason, nothing it says is done, and its parent stays small.
    """
    canary, place = tmp_path / "canary", tmp_path / "payloads"
    quick = [*list(RUN)[:8], *list(PASS)[:4]]
    names = (list(PAYLOADS) if in_full else quick)[: times(len(PAYLOADS), len(quick))]
    planted(place, names, canary)

    if in_full:
        outcomes, peak = _in_a_process_of_its_own(place)
    else:
        outcomes, peak = [attack(folder, warm()) for folder in sorted(place.iterdir())], None

    assert [outcome["name"] for outcome in outcomes if not outcome["refused"]] == []
    assert not canary.exists()
    assert peak is None or peak < MOST_BYTES
    slowest = max(outcome["seconds"] for outcome in outcomes)
    assert slowest < MOST_S
    start = max(outcome["start_s"] for outcome in outcomes)
    told = "" if peak is None else f", parent at most {peak / 1e6:.0f} MB"
    figure(
        2,
        f"{len(outcomes)} payloads: 0 executions{told}, slowest {slowest:.1f} s"
        f" (and at most {start:.1f} s for a new process)",
    )


def _in_a_process_of_its_own(place: Path) -> tuple[list[Outcome], int]:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.convert.attack", str(place)],
        cwd=ROOT,
        env=os.environ,
        stdout=subprocess.PIPE,
        check=True,
    )
    document = json.loads(ended.stdout)
    return document["outcomes"], document["peak_bytes"]
