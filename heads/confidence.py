"""How sure a model is of its next token: what is known of a drafted token before any head has read it."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from registry.records import Outlook

SUREST: Final = 12.0  # log odds; float32 tells no more apart
LEAST: Final = 1 / (1 + math.exp(SUREST))
BY_CONFIDENCE: Final = Outlook(head=0.0, confidence=1.0, bias=0.0, next_confidence=1.0, next_bias=0.0)
"""Takes a row's largest probability for that of being kept, as people do who have no head."""


def confidence(logits: Tensor) -> Tensor:
    """Log odds of each row's largest probability at temperature 1, (n, vocab) -> (n,), float32, within +-SUREST."""
    # few kernels: each takes a GPU's host as long as a small model's layer takes the GPU
    return torch.logit(logits.float().softmax(dim=-1).amax(dim=-1), eps=LEAST)
