"""Small models after a large one's rows, and mindful of the token they have just read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

PROBE_WIDTH: Final = 128
LEAST_LOG_PROBABILITY: Final = -10.0


def language_loss(model: LlamaForCausalLM) -> Callable[[Tensor, float], Tensor]:
    """Cross-entropy of the next token, nats per token, from (batch, length + 1) ids."""

    def loss(ids: Tensor, progress: float) -> Tensor:  # noqa: ARG001  (the loop hands it to every loss)
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        return nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())

    return loss


class Student(nn.Module):
    """A model to be distilled, with a probe on its last hidden state that is dropped when it is trained.

    At each token the probe tells how likely the model found that token (its log probability) and how sure it had
    been (the entropy of that row, nats). An acceptance head reads the same state and needs the same; a model that
    is trained for the next token alone soon forgets what it thought of this one.
    """

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model = model
        self.probe = nn.Sequential(
            nn.Linear(model.config.hidden_size, PROBE_WIDTH), nn.SiLU(), nn.Linear(PROBE_WIDTH, 2)
        )

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities (batch, length, vocab), and what the probe says of each token (batch, length, 2)."""
        hidden = self.model.model(input_ids=ids, use_cache=False).last_hidden_state
        return torch.log_softmax(self.model.lm_head(hidden).float(), dim=-1), self.probe(hidden).float()


def distillation_loss(
    student: Student, teacher: LlamaForCausalLM, *, foresight: float
) -> Callable[[Tensor, float], Tensor]:
    """KL divergence from the teacher's rows to the student's, and `foresight` times the probe's squared error.

    Both numbers that the probe tells count in units of about their spread over text.
    """

    def loss(ids: Tensor, progress: float) -> Tensor:  # noqa: ARG001  (the loop hands it to every loss)
        read = ids[:, :-1]
        with torch.no_grad():
            taught = torch.log_softmax(teacher(input_ids=read, use_cache=False).logits.float(), dim=-1)
        learnt, told = student(read)
        divergence: Tensor = (taught.exp() * (taught - learnt)).sum(dim=-1).mean()
        forgotten: Tensor = ((told[:, 1:] - _thought(learnt.detach(), read)) ** 2).sum(dim=-1).mean()
        return divergence + foresight * forgotten

    return loss


def _thought(rows: Tensor, ids: Tensor) -> Tensor:
    """Of every token but the first, what its row said before it was read: (batch, length - 1, 2)."""
    log_probability = rows[:, :-1].gather(-1, ids[:, 1:, None])[..., 0].clamp(min=LEAST_LOG_PROBABILITY)
    entropy = -(rows.exp() * rows).sum(dim=-1)[:, :-1]
    return torch.stack([(log_probability + 1.3) / 2, (entropy - 1.3) / 1.2], dim=-1)
