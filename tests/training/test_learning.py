"""The published loss, and a head written as published."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from heads.head import AcceptancePredictionHead
from heads.labels import Examples
from heads.quality import area_under_curve
from heads.train import HeadTraining, acceptance_kl, acceptance_loss, train_head
from registry.training import parse_trainer_state


def learnable(count: int, seed: int) -> Examples:
    """Positions whose acceptance is told by the first two hidden values."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(count, 8, generator=generator)
    acceptance = torch.sigmoid(2 * hidden[:, 0] - hidden[:, 1] + 1)
    return Examples(hidden=hidden, acceptance=acceptance, max_probability=acceptance, entropy=-acceptance)


def test_loss_equals_a_worked_example() -> None:
    """
    Two positions by hand: weighted cross-entropy over the sum of the weights.
    """
    logits = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]])
    acceptance = torch.tensor([1.0, 0.25])

    # position 1: 1 * ln 2; position 2: 6 * 0.75 * ln(4 / 3) + 0.25 * ln 4; weights 1 + 4.5 + 0.25
    by_hand = (math.log(2) + 4.5 * math.log(4 / 3) + 0.25 * math.log(4)) / 5.75
    assert acceptance_loss(logits, acceptance, mismatch_weight=6.0).item() == pytest.approx(by_hand, abs=1e-6)


def test_kl_of_a_perfect_head_is_zero_at_certain_labels_too() -> None:
    """
    Labels of 0 and 1 make no NaN, and agreeing predictions no divergence.
    """
    acceptance = torch.tensor([0.0, 1.0, 0.5])
    logits = torch.stack([torch.log(1 - acceptance + 1e-12), torch.log(acceptance + 1e-12)], dim=-1)

    assert acceptance_kl(logits, acceptance).item() == pytest.approx(0.0, abs=1e-5)


def test_training_learns_and_writes_the_published_layout(tmp_path: Path) -> None:
    """
    The folder holds config, weights and the Trainer's own state, and the stored head ranks well.
    """
    folder = tmp_path / "a--to--b" / "exp-weight6-layer3"
    held_out = learnable(500, seed=2)

    training = HeadTraining(batch_size=100, epochs=4, learning_rate=1e-2, warmup_steps=5)
    train_head(learnable(3000, seed=1), held_out, folder, training=training)

    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "trainer_state.json",
    ]
    assert json.loads((folder / "config.json").read_text()) == {"hidden_size": 8, "num_layers": 3}
    state = parse_trainer_state((folder / "trainer_state.json").read_bytes(), file="trainer_state.json")
    summary = state.summary()
    assert summary.steps == 120
    assert summary.final_eval_kl is not None
    stored = AcceptancePredictionHead.from_pretrained(folder)
    scores = torch.softmax(stored(held_out.hidden), dim=-1)[:, 1].detach()
    assert area_under_curve(scores, held_out.acceptance) > 0.8


def test_an_interrupted_training_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What fails while the head is stored leaves neither the folder nor half of it.
    """

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full_disk)
    folder = tmp_path / "a--to--b" / "run"

    with pytest.raises(OSError, match="No space left"):
        train_head(learnable(200, seed=1), learnable(50, seed=2), folder, training=HeadTraining(epochs=1))

    assert list(folder.parent.iterdir()) == []
