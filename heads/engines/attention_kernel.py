"""The kernels of `attend` on a GPU, in Triton, which comes with torch there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from heads.engines.attention import MOST_BYTES

KEYS: Final = 64  # that a program looks at together
FILLING: Final = 256  # programs that keep a large device busy
LEAST: Final = 16  # rows that a tensor core takes


def attend_on_a_gpu(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, *, scale: float, strides: Sequence[int]
) -> Tensor:
    """See `attend`; two launches, the second of which puts the parts together."""
    _, heads, count, size = queries.shape
    _, groups, capacity, _ = keys.shape
    rows = heads // groups * count
    wide, padded = triton.next_power_of_2(size), max(LEAST, triton.next_power_of_2(rows))
    together = KEYS if padded * wide * queries.itemsize < MOST_BYTES else KEYS // 2
    steps = triton.cdiv(triton.cdiv(capacity, together), max(1, FILLING // groups))
    parts = triton.cdiv(capacity, steps * together)
    sums = torch.empty((groups, parts, rows, size), dtype=torch.float32, device=queries.device)
    masses = torch.empty((2, groups, parts, rows), dtype=torch.float32, device=queries.device)
    made = torch.empty_strided(queries.shape, strides, dtype=queries.dtype, device=queries.device)
    _attend_to_part[(groups, parts)](
        queries,
        keys,
        values,
        mask,
        sums,
        masses,
        scale,
        rows,
        count,
        size,
        capacity,
        parts,
        *queries.stride()[1:],
        *keys.stride()[1:],
        *values.stride()[1:],
        *(0 if mask.shape[place] == 1 else mask.stride(place) for place in (1, 2, 3)),
        most_rows=padded,
        most_numbers=max(LEAST, wide),
        together=together,
        steps=steps,
        num_warps=4 if padded * wide <= 64 * 128 else 8,
    )
    _put_together[(groups, rows)](
        sums,
        masses,
        made,
        rows,
        count,
        size,
        parts,
        *strides[1:],
        most_parts=triton.next_power_of_2(parts),
        most_numbers=wide,
        num_warps=4,
    )
    return made


@triton.jit  # type: ignore[untyped-decorator]
def _attend_to_part(  # type: ignore[no-untyped-def]  # noqa: PLR0917 - a kernel is given numbers, by place
    queries,
    keys,
    values,
    mask,
    sums,
    masses,
    scale,
    rows,
    count,
    size,
    capacity,
    parts,
    query_head,
    query_row,
    query_number,
    key_group,
    key_row,
    key_number,
    value_group,
    value_row,
    value_number,
    mask_head,
    mask_row,
    mask_key,
    most_rows: tl.constexpr,
    most_numbers: tl.constexpr,
    together: tl.constexpr,
    steps: tl.constexpr,
) -> None:
    """Of one group, all rows over some of the keys: sums of values, and the largest score and the mass of each."""
    group, part = tl.program_id(0), tl.program_id(1)
    row, number, ahead = tl.arange(0, most_rows), tl.arange(0, most_numbers), tl.arange(0, together)
    head = group * (rows // count) + row // count
    place = row % count
    real, known = row < rows, number < size
    asked = tl.load(
        queries + head[:, None] * query_head + place[:, None] * query_row + number[None, :] * query_number,
        mask=real[:, None] & known[None, :],
        other=0.0,
    )
    largest = tl.full((most_rows,), float("-inf"), tl.float32)
    mass = tl.zeros((most_rows,), tl.float32)
    made = tl.zeros((most_rows, most_numbers), tl.float32)
    for step in range(steps):
        key = (part * steps + step) * together + ahead
        there = key < capacity
        added = tl.load(
            mask + head[:, None] * mask_head + place[:, None] * mask_row + key[None, :] * mask_key,
            mask=real[:, None] & there[None, :],
            other=float("-inf"),
        ).to(tl.float32)
        if tl.max(added) > float("-inf"):
            loaded = there[:, None] & known[None, :]
            found = tl.load(
                keys + group * key_group + key[:, None] * key_row + number[None, :] * key_number,
                mask=loaded,
                other=0.0,
            )
            scores = tl.dot(asked, tl.trans(found), input_precision="ieee") * scale + added
            above = tl.maximum(largest, tl.max(scores, 1))
            level = tl.where(above == float("-inf"), 0.0, above)
            weights = tl.exp(scores - level[:, None])
            kept = tl.exp(largest - level)
            seen = tl.load(
                values + group * value_group + key[:, None] * value_row + number[None, :] * value_number,
                mask=loaded,
                other=0.0,
            )
            made = made * kept[:, None] + tl.dot(weights.to(seen.dtype), seen, input_precision="ieee")
            mass = mass * kept + tl.sum(weights, 1)
            largest = above
    at = (group * parts + part) * rows + row
    tl.store(sums + at[:, None] * size + number[None, :], made, mask=real[:, None] & known[None, :])
    tl.store(masses + at, largest, mask=real)
    tl.store(masses + tl.num_programs(0) * parts * rows + at, mass, mask=real)


@triton.jit  # type: ignore[untyped-decorator]
def _put_together(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    sums,
    masses,
    made,
    rows,
    count,
    size,
    parts,
    made_head,
    made_row,
    made_number,
    most_parts: tl.constexpr,
    most_numbers: tl.constexpr,
) -> None:
    """One row of one group, from all its parts."""
    group, row = tl.program_id(0), tl.program_id(1)
    part, number = tl.arange(0, most_parts), tl.arange(0, most_numbers)
    there, known = part < parts, number < size
    at = (group * parts + part) * rows + row
    largest = tl.load(masses + at, mask=there, other=float("-inf"))
    mass = tl.load(masses + tl.num_programs(0) * parts * rows + at, mask=there, other=0.0)
    weights = tl.exp(largest - tl.max(largest))
    each = tl.load(
        sums + at[:, None] * size + number[None, :], mask=there[:, None] & known[None, :], other=0.0
    )
    whole = tl.sum(each * weights[:, None], 0) / tl.sum(mass * weights)
    head = group * (rows // count) + row // count
    place = row % count
    tl.store(
        made + head * made_head + place * made_row + number * made_number,
        whole.to(made.dtype.element_ty),
        mask=known,
    )
