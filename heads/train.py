"""Training a head: the published loss, by transformers' Trainer."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import EvalPrediction, Trainer, TrainingArguments

from heads.head import AcceptancePredictionHead
from heads.labels import Examples

TRAINER_STATE = "trainer_state.json"


@dataclass(frozen=True, kw_only=True)
class HeadTraining:
    """How a head is trained. The defaults are the published ones, but for the rate of a far smaller model."""

    num_layers: int = 3
    mismatch_weight: float = 6.0
    epochs: float = 3.0
    batch_size: int = 512
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    seed: int = 0


def acceptance_loss(
    logits: torch.Tensor, acceptance: torch.Tensor, *, mismatch_weight: float
) -> torch.Tensor:
    """Cross-entropy against soft labels, rejections weighted, divided by the sum of the weights.

    Args:
        logits: (n, 2); class 1 is 'accepted'.
        acceptance: (n,), the label a in 0..1.
        mismatch_weight: Weight of rejection, w.

    Returns:
        sum(w (1 - a) * -log P0 + a * -log P1) / sum(w (1 - a) + a), a scalar.

    Source: Huang et al., SpecDec++, arXiv:2405.19715, section 4.
    """
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    rejection = mismatch_weight * (1 - acceptance)
    loss: torch.Tensor = -(rejection * log_probs[..., 0] + acceptance * log_probs[..., 1]).sum()
    return loss / (rejection + acceptance).sum()


def acceptance_kl(logits: torch.Tensor, acceptance: torch.Tensor) -> torch.Tensor:
    """Mean binary KL divergence in nats from the labels (n,) to the predictions (n, 2), unweighted."""
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    cross = -(1 - acceptance) * log_probs[..., 0] - acceptance * log_probs[..., 1]
    entropy = -torch.special.xlogy(acceptance, acceptance) - torch.special.xlogy(
        1 - acceptance, 1 - acceptance
    )
    divergence: torch.Tensor = (cross - entropy).mean()
    return divergence


def train_head(
    train: Examples, evaluation: Examples, folder: Path, *, training: HeadTraining | None = None
) -> AcceptancePredictionHead:
    """Train a head and store it in `folder` as published: config.json, model.safetensors, trainer_state.json.

    The folder appears whole or not at all.
    """
    training = training or HeadTraining()
    torch.manual_seed(training.seed)
    head = AcceptancePredictionHead(
        config={"hidden_size": train.hidden.shape[-1], "num_layers": training.num_layers}
    )
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            model=_WithLoss(head, training.mismatch_weight),
            args=_arguments(training, scratch),
            train_dataset=_Positions(train),
            eval_dataset=_Positions(evaluation),
            compute_metrics=_kl_metric,
        )
        trainer.train()
        trainer.save_state()
        _store(head, Path(scratch) / TRAINER_STATE, folder)
    return head.eval()


def _store(head: AcceptancePredictionHead, state: Path, folder: Path) -> None:
    """Write beside the final folder, and give it its name when whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as staging:
        staged = Path(staging) / folder.name
        head.save_pretrained(staged)
        shutil.copyfile(state, staged / TRAINER_STATE)
        if folder.exists():
            shutil.rmtree(folder)
        staged.rename(folder)


def _arguments(training: HeadTraining, scratch: str) -> TrainingArguments:
    return TrainingArguments(
        output_dir=scratch,
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=4 * training.batch_size,
        learning_rate=training.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=training.warmup_steps,
        weight_decay=0.01,
        eval_strategy="epoch",
        save_strategy="no",
        logging_steps=50,
        report_to=[],
        seed=training.seed,
        label_names=["acceptance"],
        remove_unused_columns=False,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


class _Positions(Dataset[dict[str, torch.Tensor]]):
    """Examples as the Trainer reads them, one position an item."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"hidden": self._examples.hidden[index], "acceptance": self._examples.acceptance[index]}


class _WithLoss(torch.nn.Module):
    """A head that answers the Trainer with loss and logits."""

    def __init__(self, head: AcceptancePredictionHead, mismatch_weight: float) -> None:
        super().__init__()
        self.head = head
        self.mismatch_weight = mismatch_weight

    def forward(self, hidden: torch.Tensor, acceptance: torch.Tensor) -> dict[str, Any]:
        logits = self.head(hidden)
        loss = acceptance_loss(logits, acceptance, mismatch_weight=self.mismatch_weight)
        return {"loss": loss, "logits": logits}


def _kl_metric(prediction: EvalPrediction) -> dict[str, float]:
    logits = torch.from_numpy(np.asarray(prediction.predictions))
    acceptance = torch.from_numpy(np.asarray(prediction.label_ids))
    return {"KL": acceptance_kl(logits, acceptance).item()}
