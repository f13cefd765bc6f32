"""What a head learns from: hidden states of the source, and how likely the target accepts its token.

Three forwards over a whole text give an example for every position. At position i the source draws a token
y_i from its own row after x_1 .. x_(i-1); the target accepts it with probability min(1, p(y_i) / q(y_i)); and the
source then reads y_i after that same clean prefix, which is what it does when it drafts: a token is only asked
about when those before it were accepted, and accepted tokens follow the target's law as the text does.

The published training reads all draws in one row instead, each after the draws before it (with a share of
the text's own tokens mixed in). That is cheaper, and blurs the hidden states with prefixes that decoding never
sees.

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
    generator: torch.Generator,
) -> Examples:
    """Draw a source token at every labelled position of `text` and judge it by the target, at temperature 1.

    Args:
        source: The smaller model; its vocabulary is the target's, padding aside.
        target: The model that accepts or rejects.
        text: (batch, length) token ids, prompts and continuations sampled from the target.
        labelled: (batch, length) bool; False for prompts and for what follows an end token. Position 0
            has no row before it and never counts.
        generator: The only source of randomness.

    Returns:
        Examples, one per labelled position.

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

    counts = labelled[:, 1:]
    return Examples(
        hidden=branch_hidden(source, text, drawn)[counts].float(),
        acceptance=acceptance[counts],
        max_probability=probabilities.amax(dim=-1)[counts],
        entropy=-(probabilities * draft_rows).sum(dim=-1)[counts],
    )


@torch.no_grad()
def branch_hidden(model: PreTrainedModel, text: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """Last hidden states of drawn tokens, each read after the text before its own position and nothing else.

    Args:
        text: (batch, length) token ids.
        drawn: (batch, length - 1); drawn[:, i] stands at position i + 1.

    Returns:
        (batch, length - 1, hidden).
    """
    length = text.shape[1]
    places = torch.arange(length)
    positions = torch.cat([places, places[1:]])
    mask = torch.zeros(len(positions), len(positions), dtype=torch.bool)
    mask[:length, :length] = places[:, None] >= places
    mask[length:, :length] = places[1:, None] > places
    mask[length:, length:] = torch.eye(length - 1, dtype=torch.bool)
    hidden: torch.Tensor = model.base_model(
        input_ids=torch.cat([text, drawn], dim=1),
        position_ids=positions[None],
        attention_mask=mask[None, None].expand(len(text), -1, -1, -1),
        use_cache=False,
    ).last_hidden_state
    return hidden[:, length:]
