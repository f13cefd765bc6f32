"""Heads on disk: each stored form comes back as it was, and nothing else comes in."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load as library_load
from safetensors.torch import save, save_model
from torch import Tensor

from heads import AcceptancePredictionHead
from heads.checkpoint import load_head, packed
from registry.errors import CheckpointError, NotInstalledError

SIZES = {"hidden_size": 4, "num_layers": 3}
CONFIG = json.dumps(SIZES).encode()


def head_of(*, shared: bool = False, dtype: torch.dtype = torch.float32) -> AcceptancePredictionHead:
    torch.manual_seed(0)
    return AcceptancePredictionHead(SIZES, shared=shared).to(dtype)


def same_tensors(one: AcceptancePredictionHead, other: AcceptancePredictionHead) -> bool:
    """Bit for bit."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        tensor.dtype == theirs[name].dtype
        and torch.equal(tensor.view(torch.uint8), theirs[name].view(torch.uint8))
        for name, tensor in ours.items()
    )


def problems_of(config: bytes, weights: bytes) -> tuple[str, ...]:
    with pytest.raises(CheckpointError) as caught:
        load_head(config, weights)
    assert caught.value.problems
    return caught.value.problems


@pytest.mark.parametrize("shared", [False, True], ids=["separate", "shared"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_saved_and_loaded_is_the_same(tmp_path: Path, shared: bool, dtype: torch.dtype) -> None:
    """
    Every bit, the dtype and the stored form come back, and saving again gives the same bytes.
    """
    head = head_of(shared=shared, dtype=dtype)
    head.save_pretrained(tmp_path / "a")

    loaded = AcceptancePredictionHead.from_pretrained(tmp_path / "a")
    loaded.save_pretrained(tmp_path / "b")

    assert same_tensors(loaded, head)
    assert loaded.stored_form == ("shared" if shared else "separate")
    assert not loaded.training
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("shared", [False, True], ids=["separate", "shared"])
def test_what_the_library_writes_is_read(tmp_path: Path, shared: bool) -> None:
    """
    The stock writer's file, which drops the copies of a shared block, gives the whole head.
    """
    head = head_of(shared=shared)
    save_model(head, str(tmp_path / "model.safetensors"))
    (tmp_path / "config.json").write_bytes(CONFIG)

    loaded = AcceptancePredictionHead.from_pretrained(tmp_path)

    assert same_tensors(loaded, head)
    assert loaded.shared is shared


def test_what_we_write_the_library_reads() -> None:
    """
    The stock reader finds the tensors of block 0 and the last layer in a shared head's file.
    """
    head = head_of(shared=True)
    stored = library_load(packed(head))

    assert sorted(stored) == [
        "model.0.linear.bias",
        "model.0.linear.weight",
        "model.3.bias",
        "model.3.weight",
    ]
    assert all(torch.equal(tensor, head.state_dict()[name]) for name, tensor in stored.items())


def test_loading_draws_nothing() -> None:
    """
    The global generator stands where it stood: no tensor was made at random first.
    """
    weights = packed(head_of())
    before = torch.get_rng_state()

    load_head(CONFIG, weights)

    assert torch.equal(torch.get_rng_state(), before)


def test_a_loaded_head_can_be_trained_on() -> None:
    """
    Its parameters are parameters still, and a shared block is still one.
    """
    head = load_head(CONFIG, packed(head_of(shared=True)))

    head(torch.randn(2, 4)).sum().backward()

    assert all(parameter.grad is not None for parameter in head.parameters())
    assert head.model[0] is head.model[1]


def test_a_dropped_block_without_a_map_is_refused() -> None:
    """
    An old file with block 0 only, and no metadata that shares it, would leave blocks random elsewhere.
    """
    stored = library_load(packed(head_of(shared=True)))

    problems = problems_of(CONFIG, save(stored))

    assert sum("is missing" in problem for problem in problems) == 4


Change = Callable[[dict[str, Tensor]], Any]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(lambda t: t.pop("model.3.bias"), "model.3.bias", id="missing"),
        pytest.param(lambda t: t.update(extra=torch.zeros(1)), "extra", id="unexpected"),
        pytest.param(
            lambda t: t.update({"model.1.linear.bias": torch.zeros(5)}), "model.1.linear.bias", id="shape"
        ),
        pytest.param(
            lambda t: t.update({"model.3.bias": torch.zeros(2, dtype=torch.float16)}),
            "model.3.bias",
            id="mixed",
        ),
        pytest.param(
            lambda t: t.update({name: tensor.long() for name, tensor in t.items()}), "model.0", id="integers"
        ),
        pytest.param(
            lambda t: t["model.2.linear.weight"].view(-1)[3].fill_(torch.nan),
            "model.2.linear.weight",
            id="nan",
        ),
        pytest.param(lambda t: t["model.3.weight"].view(-1)[0].fill_(-torch.inf), "model.3.weight", id="inf"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(change: Change, named: str) -> None:
    """
    Missing, unexpected, misshapen, of another dtype, or not finite: refused, and the tensor named.
    """
    tensors = {name: tensor.clone() for name, tensor in head_of().state_dict().items()}
    change(tensors)

    assert any(named in problem for problem in problems_of(CONFIG, save(tensors)))


def test_every_problem_is_listed() -> None:
    """
    Three faults in one file are three problems.
    """
    tensors = dict(head_of().state_dict())
    del tensors["model.3.bias"]
    tensors |= {"extra": torch.zeros(1), "model.0.linear.bias": torch.zeros(4, dtype=torch.float64)}

    problems = problems_of(CONFIG, save(tensors))

    assert {"model.3.bias", "extra", "model.0.linear.bias"} <= {
        problem.split()[0].strip(":") for problem in problems
    }


@pytest.mark.parametrize("field", ["hidden_size", "num_layers"])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_config_of_another_size_is_refused(field: str, change: int) -> None:
    """
    The config must imply exactly the tensors that are there.
    """
    config = json.dumps({**SIZES, field: SIZES[field] + change}).encode()

    assert problems_of(config, packed(head_of()))
    assert problems_of(config, packed(head_of(shared=True)))


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"[]",
        b"{",
        b'{"hidden_size": 4}',
        b'{"hidden_size": true, "num_layers": 3}',
        b'{"hidden_size": 4.0, "num_layers": 3}',
        b'{"hidden_size": -4, "num_layers": 3}',
        b'{"hidden_size": 4, "num_layers": 1e9}',
        b'{"hidden_size": 4, "hidden_size": 4, "num_layers": 3}',
        b'{"hidden_size": 99999999, "num_layers": 3}',
    ],
)
def test_a_config_that_is_none_is_refused(config: bytes) -> None:
    """
    Two integers in range, each once, or nothing.
    """
    assert problems_of(config, packed(head_of()))


ORIGINAL = packed(head_of(shared=True))
HEADER_END = 8 + int.from_bytes(ORIGINAL[:8], "little")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, HEADER_END - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_changed_header_is_refused_or_means_the_same(changes: list[tuple[int, int]]) -> None:
    """
    Whatever bytes of the header are changed, no other head is loaded and nothing but our error is raised.
    """
    changed = bytearray(ORIGINAL)
    for at, value in changes:
        changed[at] = value
    try:
        loaded = load_head(CONFIG, bytes(changed))
    except CheckpointError:
        return
    assert same_tensors(loaded, head_of(shared=True))


@settings(max_examples=60)
@given(st.integers(0, len(ORIGINAL) - 1))
def test_a_truncated_file_is_refused(length: int) -> None:
    """
    No beginning of a file is taken for the whole.
    """
    assert problems_of(CONFIG, ORIGINAL[:length])


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("ArcticHuaji/specdecpp-acc-heads", "<source>--to--<target>"),
        (
            "somewhere/qwen3-0.6b--to--qwen3-14b/exp-weight6-layer3",
            "qwen3-0.6b--to--qwen3-14b/exp-weight6-layer3",
        ),
    ],
)
def test_a_hub_id_is_answered_with_the_command_that_fetches(name: str, wanted: str) -> None:
    """
    Nothing is downloaded behind anyone's back.
    """
    with pytest.raises(NotInstalledError) as caught:
        AcceptancePredictionHead.from_pretrained(name)

    assert f"specreg download {wanted}" in str(caught.value)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_without_its_files_is_refused(tmp_path: Path, missing: str) -> None:
    """
    The missing file is named.
    """
    head_of().save_pretrained(tmp_path)
    (tmp_path / missing).unlink()

    with pytest.raises(CheckpointError, match=f"{missing}.*missing"):
        AcceptancePredictionHead.from_pretrained(tmp_path)


def test_a_file_larger_than_such_a_head_is_not_read(tmp_path: Path) -> None:
    """
    The config bounds what is read; a sparse file of a terabyte costs nothing.
    """
    head_of().save_pretrained(tmp_path)
    os.truncate(tmp_path / "model.safetensors", 1 << 40)

    with pytest.raises(CheckpointError, match="more than the"):
        AcceptancePredictionHead.from_pretrained(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_in_a_files_place_does_not_hold_us(tmp_path: Path) -> None:
    """
    Only regular files are read.
    """
    head_of().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    os.mkfifo(tmp_path / "model.safetensors")

    with pytest.raises(CheckpointError, match="no regular file"):
        AcceptancePredictionHead.from_pretrained(tmp_path)


def test_a_failed_save_leaves_what_was_there(tmp_path: Path) -> None:
    """
    A head that is not finite is not written, and neither is half of it.
    """
    head_of().save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    broken = head_of()
    with torch.no_grad():
        broken.output.bias.fill_(torch.nan)

    with pytest.raises(CheckpointError, match=r"model\.3\.bias"):
        broken.save_pretrained(tmp_path)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    When the disk fails before the move, the old head stays and no scrap is left.
    """
    head_of().save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(_descriptor: int) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        head_of(shared=True).save_pretrained(tmp_path)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
