"""What a head says of whole drafts: how likely the first i tokens all survive, beside how likely they do."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from heads.head import AcceptancePredictionHead
from heads.training.calibrating import calibrated
from heads.training.labels import logits_at
from heads.training.pair import Pair
from heads.training.texts import continuations
from heads.training.warper import Warper
from registry.records import Calibration


@dataclass(frozen=True, kw_only=True)
class Drafts:
    """Drafts of the source, token by token.

    logit: (drafts, length), what the head says of each token, raw.
    acceptance: (drafts, length), float32, the probability that the target accepts it, those before it accepted.
    drafted: (drafts, length), bool; False behind the end of a text.
    """

    logit: torch.Tensor
    acceptance: torch.Tensor
    drafted: torch.Tensor

    @staticmethod
    def joined(parts: Sequence[Drafts]) -> Drafts:
        """All parts, one after the other."""
        return Drafts(
            logit=torch.cat([part.logit for part in parts]),
            acceptance=torch.cat([part.acceptance for part in parts]),
            drafted=torch.cat([part.drafted for part in parts]),
        )

    def survival(self) -> torch.Tensor:
        """(n,), how likely the first i tokens of a draft are all accepted, for every i of every draft."""
        return self.acceptance.double().cumprod(dim=1)[self.drafted]

    def predicted(self, calibration: Calibration | None) -> torch.Tensor:
        """(n,), what the head says of that: the product of its numbers, calibrated where there is a calibration."""
        told = self.logit.double()
        each = torch.sigmoid(told) if calibration is None else calibrated(told, calibration)
        return each.cumprod(dim=1)[self.drafted]

    def by_place(self) -> list[float]:
        """Mean survival after 1, 2, ... tokens."""
        whole = self.acceptance.double().cumprod(dim=1) * self.drafted
        return [float(value) for value in whole.sum(dim=0) / self.drafted.sum(dim=0).clamp(min=1)]


@torch.no_grad()
def draft(
    pair: Pair,
    head: AcceptancePredictionHead,
    prefixes: Sequence[Sequence[int]],
    *,
    uniform: torch.Tensor,
    end_tokens: Collection[int],
    warper: Warper,
) -> Drafts:
    """Let the source draft after every prefix, as it does in decoding, and ask head and target about each token.

    Args:
        pair: Source and target.
        head: That of the pair.
        prefixes: Token ids of texts that the target said.
        uniform: (prefixes, length) numbers in [0, 1), float64, by which tokens are drawn.
        end_tokens: A draft ends with the first of these.
        warper: How logits become rows.
    """
    length = uniform.shape[1]
    texts = continuations(pair.source, prefixes, uniform=uniform, end_tokens=end_tokens, warper=warper)
    starts = torch.tensor([len(prefix) for prefix in prefixes])
    ends = torch.tensor([len(text) for text in texts])
    ids = torch.zeros(len(texts), int(starts.max()) + length, dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
    places = starts[:, None] + torch.arange(length)
    first = int(starts.min())
    ids, here = ids.to(pair.device), (places - first).to(pair.device)
    before = slice(first - 1, ids.shape[1] - 1)
    q, p = (logits_at(model, ids, before) for model in (pair.source, pair.target))
    shared = min(q.shape[-1], p.shape[-1])
    tokens = ids[:, first:, None]
    q, p = (warper.rows(rows[..., :shared]).gather(-1, tokens)[..., 0] for rows in (q, p))
    # behind the end of a text stands a padding token, which the source may give no chance at all
    ratio = torch.where(q > 0, p / q, 0.0).clamp(max=1.0)
    hidden = pair.source.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, first:]
    return Drafts(
        logit=head.logit(hidden).cpu().gather(1, here.cpu()),
        acceptance=ratio.gather(1, here).cpu(),
        drafted=places < ends[:, None],
    )
