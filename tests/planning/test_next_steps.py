"""What a plan says comes next: the commands that would make it surer."""

from __future__ import annotations

import pytest

from registry.planning.law import Law
from registry.planning.measured import Measured
from registry.planning.plan import plan
from tests.planning.measurements import fingerprinted
from tests.planning.test_plan import shelf_of

PAIR = {"small": 500_000_000, "large": 16_000_000_000}


@pytest.mark.parametrize(
    ("law", "words"),
    [
        (Law(), ""),
        (Law(temperature=0, top_p=0.5), ""),
        (Law(temperature=1), ""),
        (Law(temperature=0.7), " --temperature 0.7"),
        (Law(temperature=1, top_k=40), " --temperature 1 --top-k 40"),
        (Law(temperature=0.25, top_p=0.95, min_p=0.05), " --temperature 0.25 --top-p 0.95 --min-p 0.05"),
    ],
    ids=lambda one: one.key if isinstance(one, Law) else "",
)
def test_what_comes_next_measures_the_law_of_the_plan(law: Law, words: str) -> None:
    """
    Left to itself `measure` reads greedy texts and those of temperature 1: any other law it is told, else the same plan
    would ask for the same command for ever.
    """
    shelf = shelf_of(dict(PAIR), [("small", "large")])

    found = plan(shelf, "large", measured=Measured(None, [], fingerprinted), law=law)

    steps = {one.estimate.models: one.next[-1] for one in found.chains}
    assert steps["small", "large"] == f"specreg measure small large{words}"
    assert steps["large",] == "specreg measure large"
