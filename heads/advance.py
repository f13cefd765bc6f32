"""One step of a draft after its forward, done on the device: row, draw, and whether the draft should go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from heads.confidence import confidence
from heads.edge import Edge
from heads.engines.recording import outside_inference
from heads.sampling import Rule
from heads.sending import sent

State = tuple[Tensor, ...]


class Advance:
    """A draft in the making: what it has so far lies on the device, where nobody waits for it.

    Nothing in a step asks for a number, so that it can be recorded, as `first` and `further` are.

    Args:
        edge: Says when the draft should stop.
        rule: How rows are made and drawn from.
        end_tokens: Nothing is proposed after one.
        vocab_size: Ids from here on are never drawn.
        room: Tokens of the longest draft.
        device: Of logits and hidden states.

    Attributes:
        tokens: (room,), int64.
        rows: (room, ...), as the rule makes them.
        count: (), int64: how many of them are proposed.
        going: (), whether the draft should go on.
        fed: (1,), int64: the last token, for the next forward; 0 where none could be drawn.
        asking: Seconds of the host spent on questions.
    """

    def __init__(
        self,
        *,
        edge: Edge,
        rule: Rule,
        end_tokens: frozenset[int],
        vocab_size: int,
        room: int,
        device: torch.device,
    ) -> None:
        self._edge, self._rule, self._vocab_size, self._room = edge, rule, vocab_size, room
        self.asking = 0.0
        with outside_inference():  # what is recorded is written to in both modes
            self._ends = sent(sorted(end_tokens), device)
            self._drawn = torch.zeros(1, dtype=torch.long, device=device)
            self._survival = torch.ones((), device=device)
            self._sure = torch.zeros((), device=device)
            self.tokens = torch.zeros(room, dtype=torch.long, device=device)
            self.rows = torch.empty(0, device=device)
            self.count = torch.zeros((), dtype=torch.long, device=device)
            self.going = torch.ones((), dtype=torch.bool, device=device)
            self.fed = torch.zeros(1, dtype=torch.long, device=device)

    @property
    def asks(self) -> bool:
        """Whether what is said of a draft may stop it."""
        return self._edge.asks

    def prepare(self, logits: Tensor) -> None:
        """Make room for rows such as these logits (1, vocab) give, once."""
        if not len(self.rows):
            with outside_inference():
                row = self._rule.rows(logits.clone()[:, : self._vocab_size])
                self.rows = row.new_empty((self._room, *row.shape[1:]))

    def first(self, logits: Tensor, race: Tensor | None = None) -> State:
        """Begin anew with one token.

        Args:
            logits: (1, vocab), of the text so far; what is fed there the level above has settled, so no head is asked.
            race: Of the draw; None lets the rule draw by numbers of its own.

        Returns:
            `going`, and all else that has changed: what nobody is given, a recording on a CPU leaves out.
        """
        self._drawn.zero_()
        self.count.fill_(1)
        self._survival.fill_(1)
        self.going.fill_(1)
        return self._take(logits, race)

    def further(self, logits: Tensor, hidden: Tensor, race: Tensor | None = None) -> State:
        """One token more, after the last one was fed.

        Args:
            logits: (1, vocab), at the token that was fed.
            hidden: (1, hidden), there.
            race: As above.

        Returns:
            As above.
        """
        self.count.add_(self.going)
        if self.asks:
            started = time.perf_counter()
            sure = None if self._edge.outlook is None else self._sure[None]
            self._survival.mul_(self._edge.kept(hidden, sure)[0].to(self._survival.device))
            self.asking += time.perf_counter() - started
        return self._take(logits, race)

    def _take(self, logits: Tensor, race: Tensor | None) -> State:
        logits = logits[:, : self._vocab_size]
        rows = self._rule.rows(logits)
        token = self._rule.draw(rows, None if race is None else race[0]).to(torch.long)
        self.rows.index_copy_(0, self._drawn, rows)
        self.tokens.index_copy_(0, self._drawn, token[None])
        self.fed.copy_(token.clamp(min=0))
        self._drawn.add_(1)
        if self.asks:
            started = time.perf_counter()
            self.going.logical_and_(self._hopeful(logits))
            self.asking += time.perf_counter() - started
        self.going.logical_and_((token != self._ends).all())
        return self._state

    def _hopeful(self, logits: Tensor) -> Tensor:
        """Whether what is said of the draft lets it go on."""
        foreseen = self._survival
        if self._edge.outlook is not None:
            sure = confidence(logits)
            self._sure.copy_(sure[0])
            foreseen = foreseen * self._edge.next_kept(sure)[0]
        hopeful = 1 - foreseen <= self._edge.threshold
        if self._edge.min_draft > 1:
            hopeful = hopeful | (self._drawn[0] < self._edge.min_draft)
        return hopeful

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Have everything afterwards as it was before: recording runs a step several times."""
        asking, before = self.asking, [one.clone() for one in self._state]
        yield
        self.asking = asking
        for one, was in zip(self._state, before, strict=True):
            one.copy_(was)

    @property
    def _state(self) -> State:
        """All that a step changes."""
        said = (self._survival,) if self.asks else ()
        sure = (self._sure,) if self.asks and self._edge.outlook is not None else ()
        return (self.going, self.tokens, self.rows, self.count, self.fed, self._drawn, *said, *sure)
