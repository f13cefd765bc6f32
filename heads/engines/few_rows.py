"""What torch is told of the kernels for a handful of rows, where left to itself it takes those for many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Final

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

FEW: Final = 16  # rows: of more, cuBLAS is the faster one


@contextmanager
def for_few_rows(device: torch.device, dtype: torch.dtype, rows: int, *, attention: bool) -> Iterator[None]:
    """In float32 on a GPU, products by cuBLASLt and, where asked for, attention by products.

    Eight to sixteen rows by a small matrix take an H100 56 microseconds by what cuBLAS chooses and 3 by what
    cuBLASLt does; and attention made for long texts takes 57 where the products and sums it consists of take 15.
    """
    if device.type != "cuda" or dtype != torch.float32 or rows > FEW:
        yield
        return
    before = torch.backends.cuda.preferred_blas_library()
    torch.backends.cuda.preferred_blas_library("cublaslt")
    try:
        with sdpa_kernel(SDPBackend.MATH) if attention else nullcontext():
            yield
    finally:
        torch.backends.cuda.preferred_blas_library(before)
