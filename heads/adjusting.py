"""What is done to logits before a row is made of them, and depends on where the row stands."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Protocol

import torch
from torch import Tensor

from heads.sampling import warp

NOISE_KEPT: Final = 64  # positions whose noise is remembered: those that several levels still look at


class Adjustment(Protocol):
    """From logits to logits; every level of a cascade makes the same one."""

    def __call__(self, logits: Tensor, tokens: Sequence[int], first: int) -> Tensor:
        """Adjust logits (n, vocab); row j is for the token that follows tokens[: first + j]."""
        ...


class RepetitionPenalty:
    """Makes what was said before, the prompt included, less likely: scores above 0 are divided, others multiplied.

    Source: Keskar et al., CTRL, arXiv:1909.05858, section 4.1, as transformers applies it.
    """

    def __init__(self, penalty: float) -> None:
        self.penalty = penalty

    def __call__(self, logits: Tensor, tokens: Sequence[int], first: int) -> Tensor:
        """See `Adjustment`."""
        said = torch.zeros(logits.shape, dtype=torch.bool, device="cpu")
        said[:, torch.tensor(tokens[:first], dtype=torch.long, device="cpu")] = True
        for row in range(1, len(logits)):
            said[row:, tokens[first + row - 1]] = True
        scores = logits if logits.dtype == torch.float64 else logits.float()
        penalised = torch.where(scores > 0, scores / self.penalty, scores * self.penalty)
        return torch.where(said.to(logits.device), penalised, scores)


class SharedNoise:
    """Sampling by noise that a seed and a position fix alone: the token is the argmax of probability / noise.

    The noise is exponential, so each token follows its warped row (the Gumbel trick); and as every level sees the
    same noise at a position, the text is the one that the last model alone draws with that seed, up to near
    ties. Rows made of such logits are one-hot: greedy decoding verifies them.

    Args:
        seed: Of the text.
        temperature, top_k, top_p, min_p: As for `warp`; the temperature is above 0.
    """

    def __init__(self, seed: int, *, temperature: float, top_k: int, top_p: float, min_p: float) -> None:
        self.seed = seed
        self._warper = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        self._known: OrderedDict[tuple[int, int], Tensor] = OrderedDict()

    def __call__(self, logits: Tensor, tokens: Sequence[int], first: int) -> Tensor:  # noqa: ARG002
        """See `Adjustment`."""
        probs = warp(logits, **self._warper)  # type: ignore[arg-type]
        noise = torch.stack([self._noise(first + row, logits.shape[-1]) for row in range(len(logits))])
        return probs / noise.to(probs.device)

    def _noise(self, position: int, vocab: int) -> Tensor:
        """Drawn on the CPU, whose generator gives the same numbers beside every accelerator."""
        key = position, vocab
        if key not in self._known:
            generator = torch.Generator("cpu").manual_seed(_mixed(self.seed, position))
            noise = torch.empty(vocab, dtype=torch.float32, device="cpu")
            self._known[key] = noise.exponential_(generator=generator).clamp_(min=1e-30)
        self._known.move_to_end(key)
        while len(self._known) > NOISE_KEPT:
            self._known.popitem(last=False)
        return self._known[key]


def _mixed(seed: int, position: int) -> int:
    """One seed of two numbers: the finalizer of SplitMix64, so that neighbours share nothing."""
    value = (seed + (position + 1) * 0x9E3779B97F4A7C15) % 2**64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return (value ^ (value >> 31)) % 2**63
