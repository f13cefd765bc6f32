"""The proof that a level says what its model says, and takes back what it was told to; made before it decodes."""

from __future__ import annotations

import textwrap
from typing import Final

import torch
from torch import Tensor
from transformers import PreTrainedModel

from heads.anatomy import no_rollback, output_rows
from heads.level import Level
from registry.errors import IncompatibleError

PROBE: Final = (2, 3, 5, 7)
ROUNDING: Final = 0.1  # of the spread of logits: what kernels for another number of queries may be off
NOISE: Final = 0.02  # what the same kernels may be off, where they add in no fixed order
# what a forward raises that was given something else than it expects
FAILURES: Final = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError)


@torch.inference_mode()
def prove_rollback(level: Level, model: PreTrainedModel) -> None:
    """Feed, take back, feed something else, take back, feed again: the rows must be the model's own each time.

    Raises:
        RollbackError: they are not after something was taken back.
        IncompatibleError: they never were: the model needs more than token ids, looks ahead, or counts positions by
            itself otherwise than from 0.
    """
    vocabulary = output_rows(model)
    tokens = [token % vocabulary for token in PROBE]
    ids = torch.tensor([tokens], device=next(model.get_input_embeddings().parameters()).device)
    level.begin(len(tokens))
    try:
        own = model(input_ids=ids, use_cache=False).logits[0, -2:].float()
        first = level.feed(tokens, 2).logits.float().clone()
    except torch.OutOfMemoryError:  # says nothing of the model
        raise
    except FAILURES as error:
        raise _needs_more(level.name, model, error) from error
    try:
        level.rollback(2)
        # a model that expects the whole text again, not what is new of it, has nothing to say of so few tokens
        others = len(level.feed(tokens[:2], 1).logits)
        level.rollback(2)
        again = level.feed(tokens[2:], 2).logits.float().clone()
        level.rollback(2)
        before_another = level.feed((tokens[2], tokens[0]), 2).logits.float()
    except torch.OutOfMemoryError:
        raise
    except FAILURES as error:
        raise no_rollback(level.name, model) from error
    # a state that kept what was taken back is far off
    if others != 1 or not alike(first, again):
        raise no_rollback(level.name, model)
    # fed by the same kernels but for experts, of which others have other tokens now
    same = NOISE if model.dtype.itemsize > torch.bfloat16.itemsize else ROUNDING
    if not alike(again[:1], before_another[:1], within=same):
        raise IncompatibleError(
            subject=level.name,
            field="attention",
            expected="a model whose tokens see nothing of what follows them",
            found=f"{type(model).__name__}, which looks ahead",
            next_step="Load it as a decoder, which `config.is_decoder = True` does for BERT and its like; "
            "or choose a causal LM.",
        )
    if not alike(own, first, within=NOISE):
        raise IncompatibleError(
            subject=level.name,
            field="positions",
            expected="a model that says by itself what it says of positions counted from 0",
            found=f"{type(model).__name__}, which counts them otherwise",
            next_step="Choose a model that was made to continue texts: most causal LMs of transformers were.",
        )


def alike(rows: Tensor, others: Tensor, *, within: float = ROUNDING) -> bool:
    """Whether two (n, vocab) logits differ by rounding alone; of numbers that are none, decoding tells."""
    if rows.shape != others.shape:
        return False
    return not float((rows - others).abs().mean()) > within * float(rows.std())


def _needs_more(name: str, model: PreTrainedModel, error: Exception) -> IncompatibleError:
    """The refusal of a model whose forward raises when it is given token ids and nothing else."""
    said = textwrap.shorten(str(error), 200, placeholder=" ...")  # torch lists every signature there is
    return IncompatibleError(
        subject=name,
        field="forward",
        expected="a model that continues a text when it is fed nothing but token ids",
        found=f"{type(model).__name__}, which raised {type(error).__name__}: {said}",
        next_step="Try model.generate by itself: if that raises too, the model needs other input or is damaged; "
        "else choose a causal LM of another family.",
    )
