"""The shares that a trace holds, from rows: what two models would have agreed on along a text of one of them.

q    rows of an edge's source, (n, vocab)
p    rows of its target, (n, vocab)
x    the tokens that were said, (n,)
"""

from __future__ import annotations

import torch
from torch import Tensor


def overlap(q: Tensor, p: Tensor) -> Tensor:
    """(n,): of tokens drawn from q, the share that p keeps: the sum of min(p, q)."""
    return torch.minimum(q, p).sum(dim=-1).clamp(max=1.0)


def kept_shares(q: Tensor, p: Tensor, said: Tensor) -> Tensor:
    """(n,): min(1, q(x) / p(x)), the probability that a token which p's model said was proposed to it.

    0 where p holds x impossible: a model further up has said it.
    """
    own, theirs = (rows.gather(-1, said[:, None]).squeeze(-1) for rows in (q, p))
    return torch.where(theirs > 0, (own / theirs).clamp(max=1.0), 0.0)


def refused_rows(p: Tensor, above: Tensor) -> Tensor:
    """(n, vocab): the law of what p's model said where the model above refused it; zeros where it never would."""
    residual = (p - above).clamp(min=0)
    total = residual.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, residual / total, 0.0)


def kept_otherwise_shares(q: Tensor, p: Tensor, above: Tensor) -> Tensor:
    """(n,): the mean of min(1, q / p) over what p's model said where the model above refused it.

    Where it never would, the overlap: nothing depends on it.
    """
    rho = refused_rows(p, above)
    shares = (rho * torch.where(p > 0, (q / p).clamp(max=1.0), 0.0)).sum(dim=-1).clamp(max=1.0)
    return torch.where(rho.sum(dim=-1) > 0, shares, overlap(q, p))
