"""Heads with an outlook on a CUDA device: what stops a draft there is what stops it on the host."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import registry
from heads import Cascade
from registry.records import Calibration, Outlook

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("ieee_float32")]
PROMPT = "class Stack:\n"
OUTLOOK = Outlook(head=0.5, confidence=1.0, bias=2.0, next_confidence=1.2, next_bias=2.3)


@pytest.fixture(scope="module")
def told(any_device: torch.device) -> dict[tuple[str, str], Any]:
    """What the chain of three says by heads with an outlook and by confidence, on the CPU and on the device."""
    found: dict[tuple[str, str], Any] = {}
    for device in ("cpu", str(any_device)):
        cascade = registry.resolve_pipeline("pico-little", "pico-target").load(device=device, dtype="float32")
        for head in cascade.heads:
            assert head is not None
            head.calibration = Calibration(scale=1.0, bias=1.7, greedy=OUTLOOK, sampled=OUTLOOK)
        for schedule in ("heads", "confidence"):
            found[device, schedule] = outcome(cascade, schedule=schedule)
        found[device, "plain"] = outcome(cascade.part([2]), schedule="heads")
    return found


def outcome(cascade: Cascade, *, schedule: str) -> tuple[list[int], list[Any]]:
    out = cascade.generate(PROMPT, max_new_tokens=48, schedule=schedule, threshold=0.4, eos_token_id=[])
    return out.token_ids, [(level.proposed_at, level.accepted_at) for level in out.levels]


@pytest.mark.parametrize("schedule", ["heads", "confidence"])
def test_drafts_stop_where_they_do_on_the_host(
    told: dict[tuple[str, str], Any], any_device: torch.device, schedule: str
) -> None:
    """
    The same text and the same proposals as on a CPU, by steps that nobody waits for; the text is the target's own.
    """
    here = told[str(any_device), schedule]

    assert here[0] == told[str(any_device), "plain"][0] == told["cpu", schedule][0]
    assert here[1] == told["cpu", schedule][1]
    assert 1 < len(here[1][0][0]) <= 8
