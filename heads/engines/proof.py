"""The proof that a level takes back what it was told to, made once before it decodes."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from transformers import PreTrainedModel

from heads.anatomy import no_rollback, output_rows
from heads.level import Level

PROBE: Final = (2, 3, 5, 7)


@torch.inference_mode()
def prove_rollback(level: Level, model: PreTrainedModel) -> Tensor:
    """Feed, take back, feed something else, take back, feed again: the rows must come out as before.

    Returns:
        (2, vocab), float32: the rows of the probe's last two tokens.

    Raises:
        RollbackError: they do not.
    """
    vocabulary = output_rows(model)
    tokens = [token % vocabulary for token in PROBE]
    level.begin(len(tokens))
    try:
        first = level.feed(tokens, 2).logits.float().clone()
        level.rollback(2)
        level.feed(tokens[:2], 1)
        level.rollback(2)
        again = level.feed(tokens[2:], 2).logits.float()
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise no_rollback(level.name, model) from error
    # kernels for 4 and for 2 queries round differently; a state that kept what was taken back is far off
    if not alike(first, again):
        raise no_rollback(level.name, model)
    return first


def alike(rows: Tensor, others: Tensor) -> bool:
    """Whether two (n, vocab) logits differ by rounding alone; of numbers that are none, decoding tells."""
    return not float((rows - others).abs().mean()) > 0.1 * float(rows.std())
