"""Drafting ahead of the host: the lowest level's steps follow one another on its device, and nobody waits for them.

Every step feeds the token that the last one drew, draws the next, and asks the edge. Where a level is recorded that
is two launches, one for the forward and one for all the rest. Where drafting should have stopped is a number on the
device too, read together with the verdict on the draft. What was drawn past it is never looked at, so nothing depends
on it. Where a head may stop the draft, the host reads each step's answer: one step later, when the next step is on its
way and that one may be in vain, or before it launches the next, whichever has been quicker (`heads.pace`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import torch
from torch import Tensor

from heads.advance import Advance, State
from heads.edge import Edge, Tally
from heads.engines.captured import CapturedLevel
from heads.engines.recorded_head import Held, RecordedHead, held_of
from heads.head import AcceptancePredictionHead
from heads.level import Fed, Level
from heads.pace import Late, Quicker
from heads.sampling import Rule
from heads.sending import sent

# of drafts of up to so many tokens, or twice, four times as many, all share what is recorded; rows take room
LEAST_ROOM: Final = 8
SHARED: Final = 64  # tokens; longer drafts take the room they need
Step = Callable[..., State]
Record = Callable[..., Step]


@dataclass(frozen=True)
class Draft:
    """Tokens (k,), int64, and their rows (k, ...), of which the first `count`, (), are proposed.

    They hold until the level drafts again.
    """

    tokens: Tensor
    rows: Tensor
    count: Tensor

    def after(self, pending: Sequence[int]) -> Tensor:
        """(n + k,): these tokens after others that the host knows; one that could not be drawn is fed as 0."""
        return torch.cat((sent(pending, self.tokens.device), self.tokens.clamp(min=0)))


class Flag:
    """A truth value of a device, on its way to the host."""

    def __init__(self, value: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        if value.device.type == "cuda":
            self._value = torch.empty((), dtype=torch.bool, device="cpu", pin_memory=True)
            self._value.copy_(value, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(value.device))
        else:
            self._value = value.clone()  # the next step changes it

    def read(self) -> bool:
        """Wait for what was asked of the device before this value, and for nothing after it."""
        if self._event is not None:
            self._event.synchronize()
        return bool(self._value)


class Steps:
    """The steps of drafts of one kind: recorded at their first use, or made as they come.

    Args:
        advance: What a step does. A recording plays no other one: its head is asked as it is.
        record: What records; None makes them as they come.

    Attributes:
        pace: When the next of them is launched.
        recorded: Whether those that ask the head, all but the first, play a recording.
    """

    def __init__(self, advance: Advance, record: Record | None = None) -> None:
        self.advance = advance
        self._record = record
        self.pace = Late() if record is None else Quicker()
        self.recorded = False
        self._played: dict[bool, Step] = {}

    def take(self, fed: Fed, race: Tensor | None, *, first: bool) -> Tensor:
        """One token, drawn from what a forward shows; (), whether the draft should go on."""
        given = [fed.logits] if first else [fed.logits, fed.hidden]
        if race is not None:
            given.append(race)
        if first not in self._played:
            self.advance.prepare(fed.logits)
            step = played = self.advance.first if first else self.advance.further
            if self._record is not None:
                with self.advance.kept():
                    played = self._record(step, *given)
                self.recorded |= not first and played is not step  # as it is where that is refused
            self._played[first] = played  # where recording was interrupted, the next text records
        return self._played[first](*given)[0]


def draft_ahead(
    level: Level,
    pending: Sequence[int],
    *,
    edge: Edge,
    tally: Tally,
    steps: int,
    rule: Rule,
    end_tokens: frozenset[int],
    vocab_size: int,
) -> Draft:
    """Draft up to `steps` tokens, at least one.

    Args:
        level: The lowest one.
        pending: What it has not been fed yet; the last of it is a token that the level above has settled, so the head
            is not asked about it.
        edge: Says when the head stops the draft.
        tally: Counts the head's time, where it is not recorded with all else of a step.
        steps: Tokens.
        rule: How rows are made and drawn from.
        end_tokens: Nothing is proposed after one.
        vocab_size: Ids from here on are never drawn.
    """
    fed = level.feed(pending, 1)
    device = fed.logits.device
    races = rule.races(steps, vocab_size, device)
    made = partial(Advance, rule=rule, end_tokens=end_tokens, vocab_size=vocab_size, device=device)
    whole = _recordable(edge, device)
    if isinstance(level, CapturedLevel) and races is not None and whole is not None:
        longest = edge.max_draft if edge.max_draft <= SHARED else steps
        room = max(LEAST_ROOM, 1 << (longest - 1).bit_length())
        whole = replace(whole, max_draft=room)  # nothing in a step hangs on it
        kind = (type(rule), rule.recipe, whole, _held(edge), end_tokens, vocab_size, room)
        taking = level.beside.of(kind, lambda: Steps(made(edge=whole, room=room), level.recorded))
    else:
        taking = Steps(made(edge=edge, room=steps))
    draft, asked = taking.advance, taking.advance.asking
    count = _taken(taking, level, fed, races, steps)
    tally.head_seconds += draft.asking - asked
    tally.head_recorded |= taking.recorded and draft.asks
    return Draft(tokens=draft.tokens[:count], rows=draft.rows[:count], count=draft.count)


def _taken(taking: Steps, level: Level, fed: Fed, races: Tensor | None, steps: int) -> int:
    """Take a draft's steps after its first forward; how many there are, without one in vain.

    That number, and so what is random later, hangs on the answers and not on when they were read.
    """
    draft, asks, pace = taking.advance, taking.advance.asks, taking.pace
    early = asks and pace.begin()
    seen: Flag | None = None
    for step in range(steps):
        going = taking.take(fed, None if races is None else races[step : step + 1], first=step == 0)
        last = step + 1 == steps
        if asks:
            asked = None if last else Flag(going)
            answer, seen = (seen if early else asked), asked
            if answer is not None:
                goes_on = answer.read()
                pace.answered()
                if not goes_on:
                    count = step if early else step + 1
                    pace.end(count, stopped=True)
                    return count
        if not last:
            fed = level.feed(draft.fed, 1)
    pace.end(steps, stopped=False)
    return steps


def _recordable(edge: Edge, device: torch.device) -> Edge | None:
    """The edge as a recording holds it, its head asked as it is; None where the head lies elsewhere than the rows."""
    head = edge.head.head if isinstance(edge.head, RecordedHead) else edge.head
    if head is None:
        return edge
    if isinstance(head, AcceptancePredictionHead) and head.output.weight.device == device:
        return replace(edge, head=head)
    return None


def _held(edge: Edge) -> Held | None:
    """What a recording holds of the edge's head; of one that is recorded by itself, as its text began."""
    if isinstance(edge.head, RecordedHead):
        return edge.head.held
    return held_of(edge.head) if isinstance(edge.head, AcceptancePredictionHead) else None
