"""Cascades of models with random weights, whose tokens are accepted at a rate that is given, not earned."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final

import torch
from torch import Tensor
from transformers import PreTrainedModel

from heads.anatomy import hidden_size
from heads.edge import Edge
from heads.engines.captured import CapturedLevel
from heads.engines.eager import EagerLevel
from heads.engines.recorded_head import RecordedHead
from heads.head import AcceptancePredictionHead
from heads.rounds import Rounds
from heads.sampling import Acceptance, Greedy, accept_greedy

TOKENS: Final = 128
PROMPT: Final = 64
LENGTHS: Final = (4, 8)
LOWER: Final = 4
NEVER: Final = 1 - 1e-7  # a threshold at which heads are asked and stop nothing


class Granted(Greedy):
    """Each proposed token is kept with a probability that is given, whatever the models say."""

    def __init__(self, rate: float, device: torch.device, seed: int = 0) -> None:
        self.rate = rate
        self.generator = torch.Generator(device).manual_seed(seed)

    def accept(
        self,
        proposed: Tensor,
        draft_rows: Tensor,  # noqa: ARG002 - nobody is asked
        target_rows: Tensor,
        limit: Tensor | None = None,
    ) -> Acceptance:
        """`accept_greedy` against targets that agree where the coin says so."""
        coins = torch.rand(len(proposed), device=proposed.device, generator=self.generator) < self.rate
        agreed = torch.where(coins, proposed, proposed + 1)
        return accept_greedy(proposed, torch.cat((agreed, target_rows[-1:])), limit)


def synthetic_runs(
    levels: Mapping[str, EagerLevel | CapturedLevel],
    *,
    rates: Sequence[float],
    longest_chain: int = 3,
    told: Callable[[str], None] = lambda _: None,
) -> Iterator[dict[str, Any]]:
    """Every chain of up to so many of the models that ends with the last, at every rate and some fixed lengths.

    The last model alone comes first. Heads are asked at every place, as they would be, but never stop anything.
    """
    names = list(levels)
    device = levels[names[-1]].model.device
    heads = {name: _head(level.model) for name, level in levels.items()}
    chains = [
        (*lower, names[-1]) for size in range(longest_chain) for lower in combinations(names[:-1], size)
    ]
    for chain in chains:
        for length in LENGTHS if len(chain) > 1 else (0,):
            for rate in rates if len(chain) > 1 else (0.0,):
                told(f"{' > '.join(chain)}: {length} tokens at {rate}")
                edges = [
                    Edge(
                        head=RecordedHead(heads[name]),
                        min_draft=1,
                        max_draft=length if place == len(chain) - 2 else LOWER,
                        threshold=NEVER,
                    )
                    for place, name in enumerate(chain[:-1])
                ]
                yield _run([levels[name] for name in chain], edges, rate, device)


def _run(
    levels: Sequence[EagerLevel | CapturedLevel], edges: Sequence[Edge], rate: float, device: torch.device
) -> dict[str, Any]:
    """One text for warmth, one for the clock."""
    document: dict[str, Any] = {}
    for _ in range(2):
        for level in levels:
            level.begin(PROMPT + TOKENS)
        rounds = Rounds(
            levels=levels,
            edges=edges,
            rule=Granted(rate, device),
            prompt=[1] * PROMPT,
            end_tokens=frozenset(),
            vocab_size=min(int(level.model.config.vocab_size) for level in levels) - 1,
            ahead=len(levels) > 1 and device.type != "cpu",
        )
        rounds.commit(TOKENS)  # the prompt's own forward is not decoding
        before = [level.forwards for level in levels]
        began, start = time.perf_counter(), len(rounds.tokens)
        while len(rounds.tokens) - start < TOKENS:
            rounds.commit(TOKENS)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds, tokens = time.perf_counter() - began, len(rounds.tokens) - start
        document = {
            "models": [level.name for level in levels],
            "max_draft": [edge.max_draft for edge in edges],
            "synthetic_acceptance": rate,
            "ms_per_token": 1e3 * seconds / tokens,
            "tokens_per_second": tokens / seconds,
            "tokens_per_target_forward": tokens / (levels[-1].forwards - before[-1]),
            "forwards_per_token": [
                (level.forwards - count) / tokens for level, count in zip(levels, before, strict=True)
            ],
        }
        for level in levels:
            level.end()
    return document


def _head(model: PreTrainedModel) -> AcceptancePredictionHead:
    """Sure of every token, at the cost of one that is not."""
    head = AcceptancePredictionHead({"hidden_size": hidden_size(model), "num_layers": 3})
    with torch.no_grad():
        head.output.bias.copy_(torch.tensor([-50.0, 50.0]))
    return head.to(device=model.device, dtype=model.dtype).eval()
