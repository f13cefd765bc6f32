"""A word that is mistaken is answered by what may have been meant."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from registry.errors import NotInstalledError
from tests.conftest import Outcome

Run = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("typed", "answer"),
    [("chian", "No such command 'chian'. Did you mean 'chain'?"), ("zzzz", "No such command 'zzzz'.\n")],
)
def test_a_command_that_there_is_not(specreg: Run, typed: str, answer: str) -> None:
    """
    The nearest command is named, where one is near.
    """
    found = specreg(typed)

    assert found.code == 2
    assert answer in found.err


def test_a_source_that_there_is_not(specreg: Run) -> None:
    """
    The sources of the catalog are named: no other command lists them.
    """
    found = specreg("discover", "nope")

    assert found.code == 1
    assert found.err == "specreg: No source is called 'nope'. The catalog's sources are specdecpp, pico.\n"


@pytest.mark.parametrize(
    ("names", "words"), [(("a",), "a is not on this machine"), (("a", "b"), "a, b are not on this machine")]
)
def test_several_that_are_missing_are(names: tuple[str, ...], words: str) -> None:
    """
    One is, several are.
    """
    error = NotInstalledError(subject=names, where="there", next_step="Fetch it.")

    assert str(error) == f"{words} (looked in there). Fetch it."
    assert error.subject == ", ".join(names)
