"""Training by the Trainer: a head written as published, and taken up where it was broken off."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from heads.head import AcceptancePredictionHead
from heads.training.features import Positions
from heads.training.learning import HeadTraining, Trained, train_head
from heads.training.quality import area_under_curve
from heads.training.storing import store_head
from registry.errors import UsageError
from registry.training import parse_trainer_state
from tests.training.made import examples_of


def learnable(count: int, seed: int) -> Positions:
    """Positions whose acceptance is told by the first two hidden values."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(count, 8, generator=generator)
    acceptance = torch.sigmoid(2 * hidden[:, 0] - hidden[:, 1] + 1)
    return Positions.of(examples_of(hidden, acceptance, confidence=acceptance, entropy=-acceptance))


TRAINING = HeadTraining(batch_size=100, epochs=4, learning_rate=1e-2)
BOTH = learnable(3000, seed=1), learnable(100, seed=2)


def test_training_learns_and_writes_the_published_layout(tmp_path: Path) -> None:
    """
    The folder holds config, weights and the Trainer's own state, and the stored head ranks well.
    """
    folder = tmp_path / "a--to--b" / "exp-weight6-layer3"
    held_out = learnable(500, seed=2)

    trained = train_head(learnable(3000, seed=1), held_out, training=TRAINING)
    store_head(trained.head, folder, trainer_state=trained.trainer_state)

    names = sorted(path.name for path in folder.iterdir())
    assert names == ["config.json", "model.safetensors", "trainer_state.json"]
    assert json.loads((folder / "config.json").read_text()) == {"hidden_size": 8, "num_layers": 3}
    state = parse_trainer_state((folder / "trainer_state.json").read_bytes(), file="trainer_state.json")
    assert state.summary().steps == 120
    assert state.summary().final_eval_kl is not None
    stored = AcceptancePredictionHead.from_pretrained(folder)
    (every,) = held_out.batches(1000)
    assert area_under_curve(stored.logit(every.hidden).detach(), every.acceptance) > 0.8


def test_a_step_of_the_trainer_equals_a_worked_example() -> None:
    """
    The first step warms up at a rate of 0; the second is AdamW's on the published loss, by hand to 1e-6.
    """
    hidden, rate = torch.tensor([[0.5, -2.0]]), 1e-2
    one = examples_of(hidden, torch.tensor([0.4]))
    training = HeadTraining(batch_size=1, epochs=2, learning_rate=rate, num_layers=0, seed=3)

    trained = train_head(Positions.of(one), None, training=training).head

    torch.manual_seed(training.seed)
    begun = AcceptancePredictionHead({"hidden_size": 2, "num_layers": 0}).output
    weight, bias = begun.weight.detach(), begun.bias.detach()
    # weights 6 * 0.6 and 0.4 make a target of 0.9 for class 0: the gradient of the logits is softmax - (0.9, 0.1)
    at_logits = torch.softmax(hidden[0] @ weight.T + bias, dim=-1) - torch.tensor([0.9, 0.1])
    gradients = at_logits[:, None] * hidden, at_logits
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    clipped = [gradient / max(1.0, norm.item()) for gradient in gradients]
    # twice the same gradient: both moments, once corrected, are the gradient and its square; only matrices decay
    expected = weight * (1 - 0.01 * rate) - rate * clipped[0] / (clipped[0].abs() + 1e-8)
    assert torch.allclose(trained.output.weight, expected, atol=1e-6)
    assert torch.allclose(
        trained.output.bias, bias - rate * clipped[1] / (clipped[1].abs() + 1e-8), atol=1e-6
    )
    assert not torch.allclose(trained.output.weight, weight, atol=1e-3)


class Killed(Exception):  # noqa: N818 - what a kill looks like from within
    """The process ends here."""


@cache
def whole_training(*, shared: bool) -> Trained:
    """120 steps that nothing broke off; the log has a row for every second one."""
    with TemporaryDirectory() as folder:
        return train_head(*BOTH, training=replace(TRAINING, shared_block=shared), work=Path(folder))


@pytest.mark.parametrize(
    ("at", "shared"),
    [(13, False), (30, False), (60, False), (119, False), (120, False), (61, True)],
    ids=["13", "30", "60", "119", "120", "61 of a shared block"],
)
def test_a_training_that_was_broken_off_ends_with_the_same_bits(
    tmp_path: Path, at: int, shared: bool
) -> None:
    """
    Wherever it stops, at the end of an epoch too: the same weights, and the same log but for times.
    """
    train, held_out = BOTH
    training, whole = replace(TRAINING, shared_block=shared), whole_training(shared=shared)

    def until(done: int, _total: int) -> None:
        if done == at:
            raise Killed

    with pytest.raises(Killed):
        train_head(train, held_out, training=training, work=tmp_path / "broken", step=until)
    begun = list((tmp_path / "broken").glob("checkpoint-*"))
    resumed = train_head(train, held_out, training=training, work=tmp_path / "broken")

    assert begun
    for name, tensor in whole.head.state_dict().items():
        assert torch.equal(tensor, resumed.head.state_dict()[name]), name
    assert log_of(whole.trainer_state) == log_of(resumed.trainer_state)


def log_of(state: bytes) -> list[dict[str, float]]:
    """The log's rows without what depends on the clock."""
    rows = json.loads(state)["log_history"]
    clock = ("runtime", "per_second", "total_flos")
    return [{key: value for key, value in row.items() if not key.endswith(clock)} for row in rows]


def test_a_checkpoint_without_its_seal_is_not_believed(tmp_path: Path) -> None:
    """
    One that was cut short, or was trained on other features, is put away, and the one before it is taken up.
    """
    train = learnable(1000, seed=1)
    whole = train_head(train, None, training=TRAINING, work=tmp_path, features="first")
    last = max(tmp_path.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    (last / "model.safetensors").write_bytes(b"cut short")

    again = train_head(train, None, training=TRAINING, work=tmp_path, features="first")

    assert all(
        torch.equal(a, b) for a, b in zip(whole.head.parameters(), again.head.parameters(), strict=True)
    )
    shutil.copytree(tmp_path, tmp_path / "other")
    other = train_head(
        learnable(1000, seed=5), None, training=TRAINING, work=tmp_path / "other", features="second"
    )
    fresh = train_head(learnable(1000, seed=5), None, training=TRAINING)
    assert all(
        torch.equal(a, b) for a, b in zip(fresh.head.parameters(), other.head.parameters(), strict=True)
    )


def test_a_shared_block_is_stored_once(tmp_path: Path) -> None:
    """
    The original's form: one block in the file, found again as such.
    """
    training = HeadTraining(batch_size=100, epochs=1, shared_block=True)

    trained = train_head(learnable(500, seed=1), None, training=training)
    store_head(trained.head, tmp_path / "head", trainer_state=trained.trainer_state)

    assert AcceptancePredictionHead.from_pretrained(tmp_path / "head").stored_form == "shared"


def test_the_mean_loss_is_that_of_the_log() -> None:
    """
    The closing row tells the mean over all steps.
    """
    trained = train_head(learnable(1000, seed=1), None, training=TRAINING)

    state = json.loads(trained.trainer_state)
    rows = [row for row in state["log_history"] if "loss" in row]
    steps = [0, *(row["step"] for row in rows)]
    mean = (
        sum(row["loss"] * (row["step"] - before) for before, row in zip(steps, rows, strict=False))
        / steps[-1]
    )
    assert steps[-1] == state["global_step"]
    assert math.isclose(state["log_history"][-1]["train_loss"], mean)


def test_nothing_to_learn_from_is_said() -> None:
    """
    Without a position there is no training, and a sentence says why.
    """
    with pytest.raises(UsageError, match="no position to learn from"):
        train_head(learnable(0, seed=1), None)


def test_an_interrupted_store_leaves_no_folder(tmp_path: Path) -> None:
    """
    What fails while the head is stored leaves no folder of its name.
    """
    head = AcceptancePredictionHead({"hidden_size": 2, "num_layers": 0})
    with torch.no_grad():
        head.output.bias.fill_(math.nan)

    with pytest.raises(Exception, match="not finite"):
        store_head(head, tmp_path / "a--to--b" / "run", trainer_state=b"{}")

    assert not (tmp_path / "a--to--b" / "run").exists()
