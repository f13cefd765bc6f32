"""What is held while a text is made: of its rows no more at the end than at the beginning."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor

from heads import Cascade
from heads.engines.choice import Engine
from tests.heads.models import VOCAB, chain, random_head

PROMPT = [7, 3, 11, 2]
NEW = 110
WATCHED = (80, 104)  # past the first 64 positions, whose noise is kept


def bytes_of_rows() -> int:
    """What all that is as wide as the vocabulary takes: logits, rows, noise."""
    found = {}
    for one in gc.get_objects():
        if isinstance(one, Tensor) and one.dim() and one.shape[-1] == VOCAB:
            storage = one.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


class Watching:
    """A streamer that weighs at two distant points of a text."""

    def __init__(self) -> None:
        self.told = 0
        self.held: list[int] = []
        self.row = torch.zeros(
            VOCAB
        )  # weighed, too: where nothing else is held, it shows that what is held is seen

    def put(self, value: Tensor) -> None:
        self.told += value.numel() if value.dim() == 1 else 0  # the prompt is (1, T)
        if self.told in WATCHED:
            gc.collect()
            self.held.append(bytes_of_rows())

    def end(self) -> None:
        pass


@pytest.mark.parametrize(
    ("count", "engine", "ahead", "shared_noise"),
    [
        pytest.param(3, "eager", False, False, id="waiting"),
        pytest.param(3, "eager", False, True, id="noise"),
        pytest.param(3, "eager", True, False, id="ahead"),
        pytest.param(2, "captured", True, False, id="ahead, recorded"),
    ],
)
def test_rows_are_let_go_of(count: int, engine: Engine, *, ahead: bool, shared_noise: bool) -> None:
    """
    Rows that were verified, handed up or drawn from are no history: a longer text holds no more of them.
    """
    watching = Watching()
    cascade = Cascade(chain(count=count), [random_head(seed=seed) for seed in range(1, count)], engine=engine)
    cascade.ahead = ahead

    out = cascade.generate(
        PROMPT,
        max_new_tokens=NEW,
        temperature=0.9,
        max_draft=3,
        shared_noise=shared_noise,
        eos_token_id=[],
        streamer=watching,
    )

    assert out.new_tokens == NEW
    first, last = watching.held
    assert watching.row.nbytes <= last <= first
