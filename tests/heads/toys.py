"""Toy models small enough to know everything about: tables, and every choice they can meet."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from heads.decoding import decode
from heads.edge import Edge
from heads.level import Fed
from heads.rounds import Rounds
from heads.sampling import NO_TOKEN, Randomness, Rule, Warped
from heads.stopping import Ending

Law = dict[tuple[int, ...], float]
HIDDEN = 4
PROMPT = (0,)


class TableLevel:
    """A model that is a table: a row of logits, and a hidden state, for every whole context.

    Its cache is the list of tokens it was fed, so a wrong rollback gives wrong rows. `likeness` in 0..1 says how
    much of its rows it shares with all others of the same seed.
    """

    def __init__(self, *, name: str, vocab_size: int, seed: int, likeness: float) -> None:
        self.name = name
        self.vocab_size = vocab_size
        self.seed = seed
        self.likeness = likeness
        self.forwards = 0
        self.seconds = 0.0
        self._cache: list[int] = []
        self._known: dict[tuple[int, ...], tuple[list[float], list[float]]] = {}

    @property
    def length(self) -> int:
        return len(self._cache)

    @length.setter
    def length(self, value: int) -> None:
        raise AttributeError(value)

    def begin(self, positions: int = 0) -> None:  # noqa: ARG002 - a list grows by itself
        self._cache = []
        self.forwards = 0

    def feed(self, token_ids: Sequence[int] | Tensor, rows: int) -> Fed:
        assert 1 <= rows <= len(token_ids)
        self._cache += map(int, token_ids)
        self.forwards += 1
        shown = [tuple(self._cache[: end + 1]) for end in range(self.length - rows, self.length)]
        logits = torch.tensor([self.logits(context) for context in shown], dtype=torch.float64)
        hidden = torch.tensor([self.hidden(context) for context in shown], dtype=torch.float32)
        return Fed(logits=logits, hidden=hidden)

    def rollback(self, length: int) -> None:
        del self._cache[length:]

    def logits(self, context: tuple[int, ...]) -> list[float]:
        """Logits of the token after a context."""
        return self._entry(context)[0]

    def hidden(self, context: tuple[int, ...]) -> list[float]:
        """Hidden state at a context's last token."""
        return self._entry(context)[1]

    def _entry(self, context: tuple[int, ...]) -> tuple[list[float], list[float]]:
        if context not in self._known:
            common = random.Random(f"{self.seed} {context}")  # noqa: S311
            own = random.Random(f"{self.seed} {self.name} {context}")  # noqa: S311
            logits = [
                2 * (self.likeness * common.gauss() + (1 - self.likeness) * own.gauss())
                for _ in range(self.vocab_size)
            ]
            self._known[context] = logits, [own.gauss() for _ in range(HIDDEN)]
        return self._known[context]


def table_levels(count: int, *, vocab_size: int, seed: int = 0, likeness: float = 0.6) -> list[TableLevel]:
    """Tables that agree in part, smallest first."""
    return [
        TableLevel(name=f"m{index}", vocab_size=vocab_size, seed=seed, likeness=likeness)
        for index in range(count)
    ]


class Dice:
    """`uniform`'s numbers, not yet thrown: `dice * q < p` is decided, choice by choice, when it is asked."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._scale: list[float] = []

    def __mul__(self, scale: Tensor) -> Dice:
        self._scale = scale.tolist()
        return self

    def __lt__(self, limit: Tensor) -> Tensor:
        decided: list[bool] = []
        for q, p in zip(self._scale, limit.tolist(), strict=True):
            chance = 0.0 if p <= 0 else 1.0 if q <= p else p / q
            # what stands after the first rejection is never looked at, so it is no choice
            decided.append(all(decided) and bool(self._script.choose([chance, 1 - chance]) == 0))
        return torch.tensor(decided, dtype=torch.bool)


class Script:
    """Randomness that follows a path of choices, then always the first possible one; it knows its own weight."""

    def __init__(self, path: Sequence[int] = ()) -> None:
        self.path = list(path)
        self.weight = 1.0
        self.untried: list[list[int]] = []
        self._at = 0

    def choose(self, chances: Sequence[float]) -> int:
        """An index, and note the others that were possible."""
        possible = [index for index, chance in enumerate(chances) if chance > 0]
        if self._at == len(self.path):
            self.untried += [[*self.path, other] for other in possible[1:]]
            self.path.append(possible[0])
        chosen = self.path[self._at]
        self._at += 1
        self.weight *= chances[chosen]
        return chosen

    def uniform(self, count: int, device: torch.device) -> Tensor:
        assert count > 0
        assert device.type == "cpu"
        return cast(Tensor, Dice(self))

    def draw(self, weights: Tensor) -> Tensor:
        values = weights.tolist()
        total = math.fsum(values)
        return torch.tensor(self.choose([value / total for value in values]) if total > 0 else NO_TOKEN)

    def races(self, count: int, size: int, device: torch.device) -> None:
        """No race has a path: each draw is a choice."""


def every_outcome(run: Callable[[Randomness], tuple[int, ...]], *, most: int = 100_000) -> Law:
    """The exact law of what `run` returns, by taking every path of choices once."""
    law: Law = defaultdict(float)
    waiting: list[list[int]] = [[]]
    for _ in range(most):
        script = Script(waiting.pop())
        law[run(script)] += script.weight
        waiting += script.untried
        if not waiting:
            return law
    raise AssertionError(f"more than {most} paths")


def cascade_law(
    levels: Sequence[TableLevel],
    edges: Sequence[Edge],
    *,
    budget: int,
    end_tokens: frozenset[int] = frozenset(),
    temperature: float = 1.0,
    top_k: int = 0,
    kind: type[Rounds] = Rounds,
    rule: Callable[[Randomness], Rule] | None = None,
) -> Law:
    """The exact law of the new tokens of a cascade of tables: the real rounds, every choice."""

    def run(randomness: Randomness) -> tuple[int, ...]:
        for level in levels:
            level.begin()
        made = rule(randomness) if rule else Warped(randomness, temperature=temperature, top_k=top_k)
        rounds = kind(
            levels=levels,
            edges=edges,
            rule=made,
            prompt=PROMPT,
            end_tokens=end_tokens,
            vocab_size=levels[-1].vocab_size,
        )
        tokens, _ = decode(rounds, Ending(end_tokens=end_tokens), budget, lambda _tokens: None)
        return tuple(tokens)

    return every_outcome(run)


def target_law(
    target: TableLevel,
    *,
    budget: int,
    end_tokens: frozenset[int] = frozenset(),
    temperature: float = 1.0,
    top_k: int = 0,
) -> Law:
    """The law of the target alone, in plain Python, from its table."""
    law: Law = {}
    growing: list[tuple[tuple[int, ...], float]] = [((), 1.0)]
    while growing:
        text, chance = growing.pop()
        if len(text) == budget or (text and text[-1] in end_tokens):
            law[text] = chance
            continue
        logits = target.logits((*PROMPT, *text))
        least = sorted(logits, reverse=True)[top_k - 1] if top_k else -math.inf
        masses = [math.exp(value / temperature) if value >= least else 0.0 for value in logits]
        total = math.fsum(masses)
        growing += [((*text, token), chance * mass / total) for token, mass in enumerate(masses) if mass > 0]
    return law


def distance(one: Law, other: Law) -> float:
    """Total variation."""
    return 0.5 * math.fsum(
        abs(one.get(text, 0.0) - other.get(text, 0.0)) for text in one.keys() | other.keys()
    )
