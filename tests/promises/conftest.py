"""Promises are shown in full by `pytest -m promises`, and in a shorter form among all other tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import FIGURES


@pytest.fixture
def in_full(request: pytest.FixtureRequest) -> bool:
    """Whether the promises were asked for by name, and so are shown in full."""
    return "promises" in str(request.config.getoption("markexpr"))


@pytest.fixture
def times(in_full: bool) -> Callable[[int, int], int]:
    """times(full, short): how often to try, here and now."""
    return lambda full, short: full if in_full else short


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[int, str], None]:
    """figure(promise's number, what was measured): printed when all tests are done."""
    return lambda number, measured: request.config.stash[FIGURES].append((number, measured))
