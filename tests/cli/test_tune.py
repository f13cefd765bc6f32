"""`specreg tune` from the outside."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from tests.cli.terminal import terminal
from tests.conftest import Outcome

Run = Callable[..., Outcome]


def test_a_terminal_sees_what_it_takes_and_how_far_it_is(
    specreg: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    One line of memory, for the prompts and their texts, then bars; stdout stays the document.
    """
    monkeypatch.setattr(
        "heads.tuning.tuning.advised_candidates", lambda _: [{"threshold": [0.5], "max_draft": [5]}]
    )
    monkeypatch.setattr(
        "heads.tuning.tuning.fixed_candidates", lambda _: [{"schedule": "fixed", "max_draft": [2]}]
    )
    few = ("--limit", "1", "--repeats", "1", "--max-new-tokens", "2", "--json")
    with terminal() as shown:
        found = specreg("tune", "pico-little", "pico-draft", *few)

    assert found.code == 0
    assert json.loads(found.out)["models"] == ["pico-little", "pico-draft"]
    first, rest = shown().split("\n", 1)
    assert re.match(r"pico-little -> pico-draft: .* of caches for \d+ positions, .* free on cpu\r$", first)
    assert "100%" in rest
