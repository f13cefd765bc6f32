"""The device that these tests run on."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

ELSEWHERE = "SPECREG_TEST_DEVICE"


@pytest.fixture
def device() -> torch.device:
    """The first CUDA device; without one a test is skipped."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return torch.device("cuda", 0)


@pytest.fixture(scope="session")
def any_device() -> torch.device:
    """The device that SPECREG_TEST_DEVICE names, else the first CUDA device; without one a test is skipped.

    What asks for this fixture asks nothing that only CUDA has, but is here for what only CUDA shows. With
    SPECREG_TEST_DEVICE=cpu its body runs where there is no GPU, so that a test which is wrong by itself is found there.
    """
    named = os.environ.get(ELSEWHERE)
    if named is None and not torch.cuda.is_available():
        pytest.skip(f"no CUDA device here; {ELSEWHERE}=cpu tries these tests out on the CPU")
    return torch.device(named or "cuda:0")


@pytest.fixture
def ieee_float32() -> Iterator[None]:
    """Float32 as it is written: matrix products by TF32 would round more coarsely."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)
