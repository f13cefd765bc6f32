"""Steps that are recorded on a CPU: what a recording follows, and what it refuses to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from heads.engines.operators import listened
from heads.engines.recording import RecordingRefusedError, record


def test_a_recording_finds_what_was_there_where_it_lies() -> None:
    """
    It writes to a tensor that the step writes to, and sees what others write to one that the step reads.
    """
    weight, board = torch.ones(3, requires_grad=True), torch.zeros(4)

    def step(now: Tensor) -> Tensor:
        board.index_copy_(0, now[:1], now[1:] * weight[:1])
        return board * 2

    play = record(step, torch.tensor([1, 5]))
    with torch.no_grad():
        weight.fill_(10)

    assert play(torch.tensor([3, 7])).tolist() == [0, 10, 0, 140]
    assert board.tolist() == [0, 5, 0, 70]


def test_rows_are_picked_by_place_and_not_by_truth() -> None:
    """
    There are as many places as before, and as many true values as the numbers say.
    """
    rows = torch.arange(8.0)
    play = record(lambda now: rows[now], torch.tensor([1, 2]))

    assert play(torch.tensor([5, 0])).tolist() == [5, 0]
    with pytest.raises(RecordingRefusedError, match="depends on numbers"):
        record(lambda now: now[now > 1], torch.tensor([1, 2]))


def test_a_step_that_asks_for_a_number_is_refused() -> None:
    """
    A branch taken for the example would be taken for good.
    """

    def step(now: Tensor) -> Tensor:
        return now + 1 if now.sum() > 0 else now

    with pytest.raises(RecordingRefusedError, match="leaves the step"):
        record(step, torch.tensor([1, 2]))


def test_a_graph_holds_what_operators_give_several_of() -> None:
    """
    The parts of a split, one of them used; each operator once.
    """

    def step(now: Tensor) -> Tensor:
        first, _second = now.split(2)
        best: Tensor = first.topk(1).values + 1
        return best

    graph = listened(step, torch.tensor([4.0, 9.0, 1.0, 2.0]))

    assert graph(torch.tensor([3.0, 2.0, 8.0, 8.0])).tolist() == [4.0]
    called = [node.target for node in graph.graph.nodes if node.op == "call_function"]
    assert called.count(torch.ops.aten.topk.default) == 1


def test_torch_optimizes_as_before() -> None:
    """
    Playing a recording leaves the program executor of the thread as it was.
    """
    play = record(lambda now: now + 1, torch.tensor([1]))

    for wanted in (True, False):
        with torch.jit.optimized_execution(wanted):  # type: ignore[attr-defined]
            play(torch.tensor([1]))
            assert torch._C._get_graph_executor_optimize() is wanted


def test_what_is_set_for_recording_is_set_by_one_at_a_time() -> None:
    """
    Of threads that record at once each finds torch's switches as the process has them, and leaves them so.
    """
    switch = ["as it was"]
    found = []

    @contextmanager
    def switched() -> Iterator[None]:
        before = switch[0]
        found.append(before)
        switch[0] = "for recording"
        yield
        switch[0] = before

    def step(now: Tensor) -> Tensor:
        time.sleep(0.01)
        return now + 1

    def one() -> None:
        record(step, torch.ones(2), within=switched())

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [*found, *switch] == ["as it was"] * 5
