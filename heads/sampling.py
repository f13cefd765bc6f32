"""The mathematics of lossless verification: rows, draws, acceptance.

    p    the verifying level's row at a position, the law its token must follow
    q    the row the proposed token was drawn from
    x    the proposed token

x is kept when u * q(x) < p(x), u uniform in [0, 1). The first token that is not kept is drawn anew from
max(p - q, 0), normalised; after full acceptance one more is drawn from p. Each token then follows p. The
comparison is strict and multiplies: at q = 0 or p = 0 a division would let impossible tokens through.

Greedy decoding is the same rule with rows that are one everywhere at the argmax; such rows are held as the
argmax alone (`Greedy`), which changes no decision.

Source: Leviathan et al., arXiv:2211.17192, Algorithm 1; Chen et al., arXiv:2302.01318, Theorem 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor

from registry.errors import ShapeError

LEAST: Final = torch.finfo(torch.float32).tiny
NO_TOKEN = -1  # what a draw returns when the row holds no number to draw by


class Randomness(Protocol):
    """All that is random in decoding."""

    def uniform(self, count: int, device: torch.device) -> Tensor:
        """(count,) numbers in [0, 1)."""
        ...

    def draw(self, weights: Tensor) -> Tensor:
        """A token id, (), int64, with probability weights / sum(weights); weights (vocab,) are >= 0.

        NO_TOKEN when the weights hold nothing to draw by: NaN, or no positive number.
        """
        ...

    def races(self, count: int, size: int, device: torch.device) -> Tensor | None:
        """(count, size) numbers, float32, for as many draws of weights (size,) to come: see `winner`.

        None where each draw has to be asked for by itself.
        """
        ...


def winner(weights: Tensor, race: Tensor) -> Tensor:
    """The token id, (), that wins a race: a draw by weights (vocab,), if race (vocab,) are numbers of Exp(1).

    NO_TOKEN when the weights hold nothing to draw by.
    """
    best, token = (weights / race).max(dim=-1)
    return torch.where(best > 0, token, NO_TOKEN)


class Seeded:
    """Randomness from one seed. The global generators are neither read nor moved.

    Each device has a generator of its own, seeded from the first: two devices never see one stream.
    """

    def __init__(self, seed: int) -> None:
        self._seeds = torch.Generator("cpu").manual_seed(seed)
        self._generators: dict[torch.device, torch.Generator] = {}

    def uniform(self, count: int, device: torch.device) -> Tensor:
        """(count,) numbers in [0, 1), float64 where the device has it."""
        dtype = torch.float32 if device.type == "mps" else torch.float64
        return torch.rand(count, dtype=dtype, device=device, generator=self._generator(device))

    def draw(self, weights: Tensor) -> Tensor:
        """One uniform number against cumulative weights on a CPU, elsewhere a race of exponential ones.

        The sums are of float64, so that no tail is lost; an accelerator has no such sum worth waiting for, and there
        the winner is the argmax of weights / Exp(1).
        """
        if weights.device.type == "cpu":
            return self._looked_up(weights)
        return winner(weights, self.races(1, len(weights), weights.device)[0])

    def races(self, count: int, size: int, device: torch.device) -> Tensor:
        """(count, size) numbers of Exp(1), float32, none of them 0."""
        numbers = torch.empty((count, size), dtype=torch.float32, device=device)
        return numbers.exponential_(generator=self._generator(device)).clamp_(min=LEAST)

    def _looked_up(self, weights: Tensor) -> Tensor:
        sums = weights.cumsum(dim=-1, dtype=torch.float64)
        total = float(sums[-1])
        if not 0 < total < math.inf:
            return torch.tensor(NO_TOKEN, device=weights.device)
        # the first sum past the number has a weight of its own; rounded up to the total it would be past the end
        token = torch.searchsorted(sums, self.uniform(1, weights.device) * total, right=True)[0]
        return token if int(token) < len(sums) else torch.searchsorted(sums, sums[-1:])[0]

    def _generator(self, device: torch.device) -> torch.Generator:
        generator = self._generators.get(device)
        if generator is None:
            seed = int(torch.randint(2**62, (), device="cpu", generator=self._seeds))
            generator = self._generators[device] = torch.Generator(device).manual_seed(seed)
        return generator


def warp(
    logits: Tensor, *, temperature: float, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> Tensor:
    """Turn logits into the rows that are drawn from, handed up and verified.

    Args:
        logits: (..., vocab), of any floating dtype; -inf marks what is never drawn.
        temperature: 0 gives one-hot rows at the first argmax.
        top_k: Keep the k largest, and all that equal the k-th; 0 keeps all.
        top_p: Keep the most probable tokens until their mass reaches this; at least one.
        min_p: Of what is left keep what is at least this share of the most probable; 0 keeps all.

    Returns:
        (..., vocab), float32 (float64 for float64 logits), each row summing to 1.
    """
    scores = logits if logits.dtype == torch.float64 else logits.float()
    if temperature == 0:
        return torch.nn.functional.one_hot(scores.argmax(dim=-1), scores.shape[-1]).to(scores.dtype)
    if temperature != 1:
        # the largest score is taken off first, so that a tiny temperature does not overflow
        scores = (scores - scores.amax(dim=-1, keepdim=True)) / temperature
    if 0 < top_k < scores.shape[-1]:
        least = scores.topk(top_k, dim=-1).values[..., -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    probs = scores.softmax(dim=-1)
    if top_p < 1:
        probs = _nucleus(probs, top_p)
    if min_p > 0:
        probs = probs.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), 0.0)
        probs = probs / probs.sum(dim=-1, keepdim=True)
    return probs


def _nucleus(probs: Tensor, top_p: float) -> Tensor:
    ranked, order = probs.sort(dim=-1, descending=True, stable=True)
    before = ranked.cumsum(dim=-1) - ranked
    before[..., 0] = -1  # kept also where top_p is so small that float32 has no number for it
    kept = torch.zeros_like(probs).scatter(-1, order, ranked.masked_fill(before >= top_p, 0.0))
    return kept / kept.sum(dim=-1, keepdim=True)


def residual(p: Tensor, q: Tensor) -> Tensor:
    """Weights of the token after a rejection: max(p - q, 0), or p where that is zero everywhere.

    Args:
        p, q: (vocab,) each.

    Returns:
        (vocab,), not normalised.
    """
    excess = (p - q).clamp_(min=0)
    return torch.where(excess.sum(dim=-1, keepdim=True) > 0, excess, p)


@dataclass(frozen=True)
class Acceptance:
    """How many proposed tokens are kept, (), and the token after them, (); int64, still on the device."""

    kept: Tensor
    next_token: Tensor


def accept(
    proposed: Tensor,
    draft_probs: Tensor,
    target_probs: Tensor,
    randomness: Randomness,
    limit: Tensor | None = None,
) -> Acceptance:
    """Count the proposed tokens that the target keeps and draw the one after them.

    Args:
        proposed: Token ids, (k,), int64; k may be 0.
        draft_probs: (k, vocab), the rows the tokens were drawn from, each summing to 1.
        target_probs: (k + 1, vocab); the last row serves full acceptance.
        randomness: The only source of randomness.
        limit: (), int64: how many of the k tokens are proposed, at most k; None is all. The others are not looked at.

    Raises:
        ShapeError: k or vocab differ between the three.

    Source: Leviathan et al., arXiv:2211.17192, Algorithm 1.
    """
    count = len(proposed)
    _same_shape((count + 1, *draft_probs.shape[1:]), target_probs)
    _same_shape((count, *target_probs.shape[1:]), draft_probs)
    if not count:
        return Acceptance(kept=proposed.new_zeros(()), next_token=randomness.draw(target_probs[0]))
    at = proposed.clamp(min=0).unsqueeze(-1)
    p = target_probs[:count].gather(-1, at).squeeze(-1)
    q = draft_probs.gather(-1, at).squeeze(-1)
    keep = randomness.uniform(count, target_probs.device) * q < p
    kept = _proposed(keep, limit).long().cumprod(dim=0).sum()
    at_kept = kept.unsqueeze(0)
    last = target_probs.index_select(0, at_kept)[0]
    # after full acceptance there is no q: the whole row p is the residual of nothing
    against = draft_probs.index_select(0, at_kept.clamp(max=count - 1))[0] * (
        kept < (count if limit is None else limit)
    )
    return Acceptance(kept=kept, next_token=randomness.draw(residual(last, against)))


def _proposed(keep: Tensor, limit: Tensor | None) -> Tensor:
    """`keep` (k,) without what is not proposed."""
    return keep if limit is None else keep & (torch.arange(len(keep), device=keep.device) < limit)


def accept_greedy(proposed: Tensor, target_tokens: Tensor, limit: Tensor | None = None) -> Acceptance:
    """`accept` for one-hot rows held as their argmax: the longest prefix that agrees, and the token after it.

    Args:
        proposed: (k,), each the argmax of the row it was drawn from.
        target_tokens: (k + 1,), the target's argmax at each position.
        limit: As for `accept`.

    Raises:
        ShapeError: not one more target token than proposed ones.
    """
    _same_shape((len(proposed) + 1,), target_tokens)
    kept = _proposed(proposed == target_tokens[:-1], limit).long().cumprod(dim=0).sum()
    return Acceptance(kept=kept, next_token=target_tokens.index_select(0, kept.unsqueeze(0))[0])


class Rule(Protocol):
    """How rows are made, drawn from and verified; what a row is made of is the rule's own affair."""

    @property
    def recipe(self) -> tuple[float, ...]:
        """What its rows hang on, beside logits: rules of one kind and one recipe make the same rows."""
        ...

    def rows(self, logits: Tensor) -> Tensor:
        """Rows, one per position along the first dimension, from logits (n, vocab)."""
        ...

    def races(self, count: int, size: int, device: torch.device) -> Tensor | None:
        """(count, ...) numbers for as many draws to come from rows of a vocabulary of that size.

        None where each draw has to be asked for by itself.
        """
        ...

    def draw(self, rows: Tensor, race: Tensor | None = None) -> Tensor:
        """A token id, (), from the last row; by one of the `races`, or by numbers of its own."""
        ...

    def accept(
        self, proposed: Tensor, draft_rows: Tensor, target_rows: Tensor, limit: Tensor | None = None
    ) -> Acceptance:
        """Verify k tokens, (k,), the first `limit` of them, against k draft rows and k + 1 target rows."""
        ...


class Greedy:
    """Temperature 0: a row is its argmax, (n,) int64; NO_TOKEN where the logits hold no finite maximum."""

    recipe: Final[tuple[float, ...]] = ()

    def rows(self, logits: Tensor) -> Tensor:
        """(n, vocab) -> (n,)."""
        best, token = logits.max(dim=-1)
        # as isfinite() would tell, by half as many kernels
        return torch.where(best.abs() < torch.inf, token, NO_TOKEN)

    def races(self, count: int, size: int, device: torch.device) -> Tensor:  # noqa: ARG002
        """(count, 0): nothing is left to chance."""
        return torch.empty((count, 0), device=device)

    def draw(self, rows: Tensor, race: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The last row's token."""
        return rows[-1]

    def accept(
        self,
        proposed: Tensor,
        draft_rows: Tensor,  # noqa: ARG002
        target_rows: Tensor,
        limit: Tensor | None = None,
    ) -> Acceptance:
        """`accept_greedy`: the draft's rows are the proposed tokens themselves."""
        return accept_greedy(proposed, target_rows, limit)


class Warped:
    """Temperature above 0: a row is a distribution, (n, vocab), from one softmax; see `warp`."""

    def __init__(
        self,
        randomness: Randomness,
        *,
        temperature: float,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
    ) -> None:
        self.randomness = randomness
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        self.min_p = min_p

    def rows(self, logits: Tensor) -> Tensor:
        """(n, vocab) -> (n, vocab)."""
        return warp(
            logits, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, min_p=self.min_p
        )

    @property
    def recipe(self) -> tuple[float, ...]:
        """Temperature and cuts."""
        return self.temperature, self.top_k, self.top_p, self.min_p

    def races(self, count: int, size: int, device: torch.device) -> Tensor | None:
        """(count, size), if its randomness knows of races."""
        return self.randomness.races(count, size, device)

    def draw(self, rows: Tensor, race: Tensor | None = None) -> Tensor:
        """A token drawn from the last row."""
        return self.randomness.draw(rows[-1]) if race is None else winner(rows[-1], race)

    def accept(
        self, proposed: Tensor, draft_rows: Tensor, target_rows: Tensor, limit: Tensor | None = None
    ) -> Acceptance:
        """See `accept`."""
        return accept(proposed, draft_rows, target_rows, self.randomness, limit)


def _same_shape(expected: tuple[int, ...], found: Tensor) -> None:
    if tuple(found.shape) != expected:
        raise ShapeError(
            f"rows must be of shape {list(expected)} beside these proposals, got {list(found.shape)}.",
            expected=expected,
            found=tuple(found.shape),
        )
