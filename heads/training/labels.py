"""What a head learns from: hidden states of the source, and how likely the target accepts its token.

At position i the source draws a token y_i from its own row after x_1 .. x_(i-1); the target accepts it with
probability min(1, p(y_i) / q(y_i)). There are two ways to read y_i.

*branch*: the source reads y_i after that same clean prefix, which is what it does when it drafts: a token is only
asked about when those before it were accepted, and accepted tokens follow the target's law as the text does. It
takes a second forward of the source, over the text and all draws beside it.

*row*: the published training. All draws stand in one row, each after the draws before it, but for a share of
places, the mixing ratio, which keep the text's own token and give no example. That is cheaper, and blurs the
hidden states with prefixes that decoding never sees.

Source: Huang et al., SpecDec++, arXiv:2405.19715, section 4.
"""

from __future__ import annotations

import inspect
from typing import Final, Literal

import torch
from transformers import PreTrainedModel

from heads.confidence import confidence
from heads.training.examples import Examples
from heads.training.warper import Warper, drawn
from registry.errors import ShapeError, UsageError

Labelling = Literal["branch", "row"]
PLAIN: Final = Warper()


@torch.no_grad()
def rows(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """Next-token log-probabilities (batch, length, vocab) in float32 of ids (batch, length)."""
    return torch.log_softmax(logits_at(model, ids, slice(None)).float(), dim=-1)


@torch.no_grad()
def logits_at(model: PreTrainedModel, ids: torch.Tensor, places: slice) -> torch.Tensor:
    """The model's own logits (batch, places, vocab) at some places of ids (batch, length)."""
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        every: torch.Tensor = model(input_ids=ids, use_cache=False).logits[:, places]
        return every
    kept = torch.arange(ids.shape[1], device=ids.device)[places]
    logits: torch.Tensor = model(input_ids=ids, use_cache=False, logits_to_keep=kept).logits
    return logits


@torch.no_grad()
def acceptance_examples(
    source: PreTrainedModel,
    target: PreTrainedModel,
    text: torch.Tensor,
    *,
    labelled: torch.Tensor,
    uniform: torch.Tensor,
    mixed: torch.Tensor | None = None,
    warper: Warper = PLAIN,
) -> Examples:
    """Draw a source token at every labelled position of `text` and judge it by the target.

    Args:
        source: The smaller model; its vocabulary is the target's, padding aside.
        target: The model that accepts or rejects.
        text: (batch, length) token ids, prompts and continuations sampled from the target, padded at the end with
            any id: what comes later is never read.
        labelled: (batch, length) bool; False for prompts and for what follows an end token. Position 0
            has no row before it and never counts.
        uniform: (batch, length) numbers in [0, 1), float64, by which the tokens are drawn.
        mixed: (batch, length) bool: read all draws in one row, which has the text's own token where this is True, and
            no example there. None reads each draw after its clean prefix.
        warper: How both models' logits become the rows that are drawn from and judged by.

    Returns:
        Examples, one per labelled position that is not mixed, row by row; hidden states as the source gave them.

    Raises:
        ShapeError: `labelled` has another shape than `text`.
        UsageError: branches past the window of a source that sees only so far.
    """
    if labelled.shape != text.shape:
        raise ShapeError(
            f"labelled marks the positions of text: expected {tuple(text.shape)}, got {tuple(labelled.shape)}.",
            expected=tuple(text.shape),
            found=tuple(labelled.shape),
        )
    columns = labelled[:, 1:].any(dim=0).nonzero().flatten().tolist()
    first, last = (columns[0], columns[-1] + 1) if columns else (0, 0)
    before, at = slice(first, last), slice(first + 1, last + 1)
    q, p = (logits_at(model, text, before) for model in (source, target))
    shared = min(q.shape[-1], p.shape[-1])
    own, best, best_of_target = _own(q[..., :shared]), *(rows[..., :shared].argmax(dim=-1) for rows in (q, p))
    q, p = warper.rows(q[..., :shared]), warper.rows(p[..., :shared])
    tokens = drawn(q, uniform[:, at])
    chosen = tokens[..., None]
    acceptance = (p.gather(-1, chosen) / q.gather(-1, chosen)).squeeze(-1).clamp(max=1.0)
    counts = labelled[:, at]
    if mixed is None:
        hidden = branch_hidden(source, text, tokens, first=first)
    else:
        counts = counts & ~mixed[:, at]
        hidden = _row_hidden(source, text, torch.where(counts, tokens, text[:, at]), at)
    return Examples(
        hidden=hidden[counts],
        acceptance=acceptance[counts],
        confidence=own[0][counts],
        entropy=own[1][counts],
        likeliest=(tokens == best)[counts],
        agreed=(best == best_of_target)[counts],
    )


def _own(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Confidence and entropy of rows at temperature 1, (..., vocab) -> (...) each."""
    rows = logits.float().softmax(dim=-1)
    return confidence(logits), -torch.special.xlogy(rows, rows).sum(dim=-1)


@torch.no_grad()
def branch_hidden(
    model: PreTrainedModel, text: torch.Tensor, tokens: torch.Tensor, *, first: int = 0
) -> torch.Tensor:
    """Last hidden states of drawn tokens, each read after the text before its own position and nothing else.

    Args:
        text: (batch, length) token ids.
        tokens: (batch, n); tokens[:, i] stands at position first + i + 1.
        first: How many places of the text have no branch after them.

    Returns:
        (batch, n, hidden).

    Raises:
        UsageError: the model's attention sees only so far, and the text is longer.
    """
    require_full_sight(model, text.shape[1])
    length, branches = text.shape[1], tokens.shape[1]
    places = torch.arange(length, device=text.device)
    own = torch.arange(first + 1, first + 1 + branches, device=text.device)
    positions = torch.cat([places, own])
    mask = torch.zeros(len(positions), len(positions), dtype=torch.bool, device=text.device)
    mask[:length, :length] = places[:, None] >= places
    mask[length:, :length] = own[:, None] > places
    mask[length:, length:] = torch.eye(branches, dtype=torch.bool, device=text.device)
    hidden: torch.Tensor = model.base_model(
        input_ids=torch.cat([text, tokens], dim=1),
        position_ids=positions[None],
        attention_mask=mask[None, None].expand(len(text), -1, -1, -1),
        use_cache=False,
    ).last_hidden_state
    return hidden[:, length:]


def require_full_sight(model: PreTrainedModel, length: int) -> None:
    """Branches are told apart by a mask of our own, which knows of no sliding window.

    Raises:
        UsageError: a layer of the model sees fewer positions than `length`.
    """
    config = model.config.get_text_config(decoder=True)
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ()
    slides = "sliding_attention" in kinds if kinds else getattr(config, "use_sliding_window", True)
    if isinstance(window, int) and slides and window < length:
        raise UsageError(
            f"{type(model).__name__} sees only {window} positions back, expected at least {length}: branches cannot "
            "be told apart there. Use --labels row, or shorter prompts."
        )


def _row_hidden(model: PreTrainedModel, text: torch.Tensor, tokens: torch.Tensor, at: slice) -> torch.Tensor:
    """Last hidden states at `at`, where the text has `tokens` in place of its own."""
    row = text.clone()
    row[:, at] = tokens
    hidden: torch.Tensor = model.base_model(input_ids=row, use_cache=False).last_hidden_state
    return hidden[:, at]
