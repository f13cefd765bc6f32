"""The device that these tests run on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def device() -> torch.device:
    """The first CUDA device; without one a test is skipped."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return torch.device("cuda", 0)


@pytest.fixture
def ieee_float32() -> Iterator[None]:
    """Float32 as it is written: matrix products by TF32 would round more coarsely."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)
