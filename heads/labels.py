"""What a head learns from: hidden states of the source, and how likely the target accepts its token.

One forward of each model over a whole text gives an example for every position. At position i the source
draws a token y_i from its own row; the target accepts it with probability min(1, p(y_i) / q(y_i)). The text
that the source then reads to make hidden states holds mostly its own draws, and at a share of the positions
(the mixing ratio) the text's own token, which carries no label.

Source: Huang et al., SpecDec++, arXiv:2405.19715, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from registry.errors import ShapeError


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Positions to learn from or to judge by.

    hidden: (n, hidden_size), the source's last hidden state at the drawn token's own position.
    acceptance: (n,), float32, the probability that the target accepts that token.
    max_probability, entropy: (n,), float32, of the row the token was drawn from (nats): what people use
        in place of a head.
    """

    hidden: torch.Tensor
    acceptance: torch.Tensor
    max_probability: torch.Tensor
    entropy: torch.Tensor

    def __len__(self) -> int:
        return len(self.acceptance)

    @staticmethod
    def joined(parts: list[Examples]) -> Examples:
        """All parts, one after the other."""
        return Examples(
            hidden=torch.cat([part.hidden for part in parts]),
            acceptance=torch.cat([part.acceptance for part in parts]),
            max_probability=torch.cat([part.max_probability for part in parts]),
            entropy=torch.cat([part.entropy for part in parts]),
        )


@torch.no_grad()
def rows(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """Next-token log-probabilities (batch, length, vocab) in float32 of ids (batch, length)."""
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    logits: torch.Tensor = model.get_output_embeddings()(hidden)
    return torch.log_softmax(logits.float(), dim=-1)


@torch.no_grad()
def acceptance_examples(
    source: PreTrainedModel,
    target: PreTrainedModel,
    text: torch.Tensor,
    *,
    labelled: torch.Tensor,
    mixing_ratio: float = 0.15,
    generator: torch.Generator,
) -> Examples:
    """Draw a source token at every labelled position of `text` and judge it by the target, at temperature 1.

    Args:
        source: The smaller model; its vocabulary is the target's, padding aside.
        target: The model that accepts or rejects.
        text: (batch, length) token ids, prompts and continuations sampled from the target.
        labelled: (batch, length) bool; False for prompts and for what follows an end token. Position 0
            has no row before it and never counts.
        mixing_ratio: Share of positions that keep the text's own token and carry no label.
        generator: The only source of randomness.

    Returns:
        Examples, one per labelled position that was not mixed.

    Raises:
        ShapeError: `labelled` has another shape than `text`.
    """
    if labelled.shape != text.shape:
        raise ShapeError(
            f"labelled marks the positions of text: expected {tuple(text.shape)}, got {tuple(labelled.shape)}.",
            expected=tuple(text.shape),
            found=tuple(labelled.shape),
        )
    draft_rows = rows(source, text)[:, :-1]
    target_rows = rows(target, text)[:, :-1]
    shared = min(draft_rows.shape[-1], target_rows.shape[-1])
    draft_rows = torch.log_softmax(draft_rows[..., :shared], dim=-1)
    target_rows = target_rows[..., :shared]
    probabilities = draft_rows.exp()
    drawn = torch.multinomial(probabilities.flatten(0, 1), 1, generator=generator).view(text.shape[0], -1)
    chosen = drawn[..., None]
    ratio = target_rows.gather(-1, chosen) - draft_rows.gather(-1, chosen)
    acceptance = ratio.squeeze(-1).clamp(max=0.0).exp()

    keep_own = torch.rand(drawn.shape, generator=generator) < mixing_ratio
    counts = labelled[:, 1:] & ~keep_own
    mixed = torch.where(counts, drawn, text[:, 1:])
    read = torch.cat([text[:, :1], mixed], dim=1)
    hidden = source.base_model(input_ids=read, use_cache=False).last_hidden_state[:, 1:]
    return Examples(
        hidden=hidden[counts].float(),
        acceptance=acceptance[counts],
        max_probability=probabilities.amax(dim=-1)[counts],
        entropy=-(probabilities * draft_rows).sum(dim=-1)[counts],
    )


def before_end(continuation: torch.Tensor, end_ids: list[int]) -> torch.Tensor:
    """(batch, length) bool: up to and including each row's first end token."""
    ends = torch.isin(continuation, torch.tensor(end_ids, dtype=continuation.dtype))
    return (ends.long().cumsum(dim=1) - ends.long()) == 0
