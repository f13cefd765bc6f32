"""What a step leaves on disk is read as it was written, or named as damaged."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from heads.training import features
from heads.training.examples import Examples
from heads.training.features import bytes_of, put_examples, read_examples
from heads.training.holding import held
from heads.training.plan import Plan
from heads.training.shards import Shards
from heads.training.splitting import held_out_of
from registry.errors import CheckpointError, UsageError


def examples(count: int, seed: int, dtype: torch.dtype = torch.float32) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    hidden, rest = torch.randn(count, 6, generator=generator), torch.rand(3, count, generator=generator)
    marks = {"likeliest": rest[1] > 0.5, "agreed": rest[2] > 0.5}
    return Examples(hidden=hidden.to(dtype), acceptance=rest[0], confidence=rest[1], entropy=rest[2], **marks)


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    """Two shards, of prompts 0 and 1, and of prompts 2 and 3."""
    found = Shards(tmp_path / "features")
    put_examples(found, "features-00000.safetensors", examples(5, 0), torch.tensor([0, 0, 0, 1, 1]))
    put_examples(found, "features-00001.safetensors", examples(4, 1), torch.tensor([3, 2, 2, 2]))
    return found


def test_held_out_prompts_are_read_apart(shards: Shards) -> None:
    """
    No position of a held-out prompt is learned from, and none is lost.
    """
    train, held_out = read_examples(shards, [1, 2])

    every = Examples.joined([examples(5, 0), examples(4, 1)])
    kept = torch.tensor([3, 4, 6, 7, 8])
    rest = torch.tensor([0, 1, 2, 5])
    assert torch.equal(held_out.__getitems__(range(5))["hidden"], every.hidden[kept])
    assert torch.equal(train.__getitems__([3, 0])["acceptance"], every.acceptance[rest[[3, 0]]])


def test_more_than_memory_holds_is_read_where_it_lies(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Row by row from the files, the same numbers as from memory.
    """
    monkeypatch.setattr(features, "IN_MEMORY_BYTES", 0)
    on_disk, _ = read_examples(shards, [1])
    monkeypatch.undo()
    in_memory, _ = read_examples(shards, [1])

    for places in ([0, 6, 2, 5], [4]):
        assert torch.equal(on_disk.__getitems__(places)["hidden"], in_memory.__getitems__(places)["hidden"])


def test_half_precision_is_kept_as_it_came(tmp_path: Path) -> None:
    """
    bf16 states are stored in two bytes each, and read back exactly.
    """
    found = Shards(tmp_path)
    part = examples(64, 0, torch.bfloat16)
    put_examples(found, "features-00000.safetensors", part, torch.zeros(64, dtype=torch.int))

    train, _ = read_examples(found, [])

    assert torch.equal(train.__getitems__(range(64))["hidden"], part.hidden.float())
    told = bytes_of(64, 6, torch.bfloat16)
    assert told < found.size_bytes < told + 600  # the header


@pytest.mark.parametrize("at", [0, 9, 200, -1])
def test_a_flipped_bit_is_found_and_the_shard_named(shards: Shards, at: int) -> None:
    """
    In length, header or numbers: nothing is trained on it, and the sentence says what to delete.
    """
    path = shards.folder / "features-00001.safetensors"
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)

    with pytest.raises(
        CheckpointError, match=r"features-00001.safetensors is damaged: expected sha256 .* Delete that"
    ):
        read_examples(Shards(shards.folder), [1])


def test_a_shard_that_is_gone_or_cut_is_made_again(shards: Shards) -> None:
    """
    The index names it, but its file does not bear that out.
    """
    (shards.folder / "features-00000.safetensors").unlink()
    path = shards.folder / "features-00001.safetensors"
    path.write_bytes(path.read_bytes()[:-1])

    again = Shards(shards.folder)

    assert not again.has("features-00000.safetensors")
    assert not again.has("features-00001.safetensors")


def test_a_spoilt_index_is_named(shards: Shards) -> None:
    """
    Half an index is no index.
    """
    (shards.folder / "index.json").write_text("{")

    with pytest.raises(CheckpointError, match=r"index.json is damaged"):
        Shards(shards.folder)


def test_another_plan_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    """
    Every option that differs is told, old value and new.
    """
    Plan(facts={"max_new_tokens": 128, "seed": 0}).keep(tmp_path)
    Plan(facts={"max_new_tokens": 128, "seed": 0}).keep(tmp_path)

    with pytest.raises(UsageError, match=r"max_new_tokens was 128, now 64.*another --run"):
        Plan(facts={"max_new_tokens": 64, "seed": 0}).keep(tmp_path)


def test_the_same_prompts_are_held_out_in_any_order() -> None:
    """
    Equal prompts stay together, and one is always left to learn from.
    """
    prompts = [(1, 2), (3,), (1, 2), (4, 5), (6,)]

    held_out = {prompts[place] for place in held_out_of(prompts, 0.5)}
    turned = {prompts[::-1][place] for place in held_out_of(prompts[::-1], 0.5)}

    assert held_out == turned
    assert len(held_out) == 2
    assert held_out_of(prompts, 0.0) == ()
    assert held_out_of([(1,), (1,)], 0.9) == ()
    assert len({prompts[place] for place in held_out_of(prompts, 0.99)}) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="a dead process would keep the folder there")
def test_two_trainings_in_one_folder_do_not_meet(tmp_path: Path) -> None:
    """
    The second is told to wait, and goes on when the first has let go.
    """
    with held(tmp_path), pytest.raises(UsageError, match="Another process is at work"), held(tmp_path):
        pass

    with held(tmp_path):
        pass
