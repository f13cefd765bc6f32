"""What a device's tensors hold, read in one piece."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heads.sending import received

WHOLE = st.lists(st.integers(-1, 2**40), min_size=1, max_size=5)
REAL = st.lists(st.floats(width=32), min_size=1, max_size=5)


@given(st.lists(WHOLE, min_size=1, max_size=3), st.lists(REAL, max_size=3))
def test_all_numbers_come_as_they_were(whole: list[list[int]], real: list[list[float]]) -> None:
    """
    Ids of any size, and numbers of float32 to the bit, NaN and infinities too, however many tensors there are.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heads.sending.HERE", "another")
        told, apart = received(list(map(torch.tensor, whole)), [torch.tensor(one) for one in real])

    assert told == [number for one in whole for number in one]
    assert list(map(repr, apart)) == list(map(repr, real))
