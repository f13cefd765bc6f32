"""What an outlook says, of tensors on a device and of numbers on the host."""

from __future__ import annotations

import math
from typing import Any, overload

from torch import Tensor

from registry.records import Outlook


@overload
def read_odds(outlook: Outlook, logit: float, confidence: float) -> float: ...
@overload
def read_odds(outlook: Outlook, logit: Tensor | float, confidence: Tensor) -> Tensor: ...
def read_odds(outlook: Outlook, logit: Any, confidence: Any) -> Any:
    """Log odds that tokens are kept which were read.

    Args:
        outlook: For the way to draw.
        logit: What the head says, raw; (n,) where it is a tensor, 0 where it is not asked.
        confidence: Of the rows that they were drawn from, alike.
    """
    odds = outlook.confidence * confidence + outlook.bias
    return odds + outlook.head * logit if outlook.head else odds


@overload
def next_odds(outlook: Outlook, confidence: float) -> float: ...
@overload
def next_odds(outlook: Outlook, confidence: Tensor) -> Tensor: ...
def next_odds(outlook: Outlook, confidence: Any) -> Any:
    """Log odds that tokens are kept which were drawn, and not read yet."""
    return outlook.next_confidence * confidence + outlook.next_bias


def chance(odds: float) -> float:
    """The probability of such log odds.

    >>> chance(0.0), chance(-5000.0)
    (0.5, 0.0)
    """
    return 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0
