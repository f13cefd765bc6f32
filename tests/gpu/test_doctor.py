"""`specreg doctor` on a CUDA device: silent where nothing is wrong, and not misled by its rounding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from heads.bench.prompts import own_prompts
from heads.doctor.check import Examination
from heads.doctor.examine import examine
from registry.shelf import Shelf
from tests.doctor.ward import DRAFT_TARGET, LITTLE_DRAFT, Ward

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("ieee_float32")]
NOISY = {"speed", "prediction"}  # so small a family gains nothing on a GPU


def examined(shelf: Shelf, device: torch.device, dtype: str) -> Examination:
    """The whole chain, by the engine that the device chooses, on as many tokens as the command takes."""
    return examine(
        shelf,
        "pico-little",
        "pico-target",
        length=3,
        prompts=own_prompts()[:1],
        max_new_tokens=32,
        device=str(device),
        dtype=dtype,
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_sound_chain_gives_no_fault_and_no_warning(any_device: torch.device, dtype: str) -> None:
    """
    Nothing is said against the family as it is shipped, in either dtype.
    """
    found = examined(Shelf.open(), any_device, dtype)

    assert [one for one in found.checks if one.status != "ok" and one.check not in NOISY] == []
    assert found.device is not None
    assert f"({any_device.type}" in found.device


def test_swapped_heads_are_found(tmp_path: Path, any_device: torch.device) -> None:
    """
    Both read 192 numbers and both rank well, and in bfloat16 too each foresees the other's edge better than its own.
    """
    ward = Ward(tmp_path / "ward")
    ward.exchange(LITTLE_DRAFT, DRAFT_TARGET)

    found = examined(ward.shelf(), any_device, "bfloat16").of("fault")

    assert {(one.check, one.subject) for one in found} == {
        ("answers", LITTLE_DRAFT),
        ("answers", DRAFT_TARGET),
    }
    assert all("swapped heads" in str(one.cause) for one in found)
