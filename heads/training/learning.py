"""Step three: a head's weights, by transformers' Trainer."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from transformers import EvalPrediction, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.utils import logging as library_logging

from heads.head import AcceptancePredictionHead
from heads.training.features import Positions
from heads.training.loss import acceptance_kl, acceptance_loss
from heads.training.room import KEPT, require_room, room_told
from heads.training.sealing import Sealing, checkpoints_in, sealed_checkpoint
from registry.errors import UsageError
from registry.files.filenames import TRAINER_STATE

LOGS: Final = 60  # rows of the log that a training leaves, about
SAVES: Final = 10  # checkpoints it takes on its way, about
LASTING: Final = 2  # of them, how many stay; one more while it is written
WARMUP: Final = 0.03
Step = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class HeadTraining:
    """How a head is trained. The defaults are the published ones, but that a batch counts positions, not texts.

    `learning_rate` None falls with the width of the head: 2e-3 at 192, the published 5e-5 at 8192. `shared_block`
    applies one block `num_layers` times, as the original code does.
    """

    num_layers: int = 3
    mismatch_weight: float = 6.0
    epochs: float = 3.0
    batch_size: int = 512
    learning_rate: float | None = None
    shared_block: bool = False
    seed: int = 0

    def rate(self, hidden_size: int) -> float:
        """The peak rate for hidden states so wide."""
        return self.learning_rate if self.learning_rate is not None else min(2e-3, 0.4 / hidden_size)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A head in eval mode on the CPU, and the bytes of the Trainer's own state."""

    head: AcceptancePredictionHead
    trainer_state: bytes


def train_head(
    train: Positions,
    evaluation: Positions | None,
    *,
    training: HeadTraining | None = None,
    work: Path | None = None,
    features: str = "",
    device: str = "cpu",
    step: Step = lambda done, total: None,  # noqa: ARG005
) -> Trained:
    """Train a head.

    Args:
        train: What it learns from.
        evaluation: What it is evaluated on at every tenth of the way, if anything.
        training: How.
        work: Where checkpoints are kept, and where one is taken up; nowhere when None.
        features: Digest of what is trained on; a checkpoint of others is not taken up.
        device: As torch names it; of several GPUs none but this one has a part in it.
        step: Told how many steps of how many are done.

    Raises:
        UsageError: there is no position to learn from, or no room on the disk for checkpoints.
    """
    training = training or HeadTraining()
    if not len(train):
        raise UsageError(
            "There is no position to learn from: expected at least one continuation token outside the held-out "
            "prompts. Give more prompts, or a smaller --held-out."
        )
    torch.manual_seed(training.seed)
    head = AcceptancePredictionHead(
        config={"hidden_size": train.hidden_size, "num_layers": training.num_layers},
        shared=training.shared_block,
    )
    place = torch.device(device)
    with tempfile.TemporaryDirectory() as scratch, _current(place):
        folder = Path(scratch) if work is None else work
        trainer = _Learning(
            model=_WithLoss(head, training.mismatch_weight),
            args=_arguments(training, folder, train, evaluation, place=place),
            data_collator=_as_it_comes,
            train_dataset=train,
            eval_dataset=evaluation if evaluation is not None and len(evaluation) else None,
            compute_metrics=_kl_metric,
            callbacks=[_LastStep(step), Sealing(features)],
        )
        trainer.remove_callback(PrinterCallback)  # it writes to stdout, which is the command's
        begun = sealed_checkpoint(folder, features)
        size = _checkpoint_bytes(head)
        more = _more_checkpoints(folder, _steps_of(training, train), trainer.args.save_steps)
        require_room(folder, size * more, "The training's checkpoints", KEPT)
        with _quiet(), room_told(folder, "A checkpoint of the training", needed_bytes=size):
            trainer.train(resume_from_checkpoint=None if begun is None else str(begun))
            trainer.save_state()
        state = (folder / TRAINER_STATE).read_bytes()
    return Trained(head=head.cpu().eval(), trainer_state=state)


def _checkpoint_bytes(head: AcceptancePredictionHead) -> int:
    """What a checkpoint takes at least: the weights, and both moments that AdamW keeps of each."""
    return 3 * sum(part.numel() * part.element_size() for part in head.parameters())


def _more_checkpoints(folder: Path, total: int, saving: float) -> int:
    """How many checkpoints there will be room needed for at one time, beside those that lie there."""
    there = checkpoints_in(folder)
    return min(math.ceil((total - max(there, default=0)) / saving), LASTING + 1 - len(there))


def _steps_of(training: HeadTraining, train: Positions) -> int:
    """Steps of the whole training."""
    return max(1, math.ceil(math.ceil(len(train) / training.batch_size) * training.epochs))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's remarks on checkpoints that come fast one after the other."""
    verbosity = library_logging.get_verbosity()
    library_logging.set_verbosity_error()
    try:
        yield
    finally:
        library_logging.set_verbosity(verbosity)


@contextmanager
def _current(place: torch.device) -> Iterator[None]:
    """A GPU as the current one; the Trainer makes another the current one, which is undone behind it."""
    if place.type != "cuda":
        yield
        return
    with torch.cuda.device(place):
        yield


def _arguments(
    training: HeadTraining,
    folder: Path,
    train: Positions,
    evaluation: Positions | None,
    *,
    place: torch.device,
) -> TrainingArguments:
    asked = torch.cuda.current_device() if place.type == "cuda" else 0
    total = _steps_of(training, train)
    logging = max(1, total // LOGS)
    # rows of the log, evaluations and checkpoints fall on one step: what a checkpoint holds is then whole
    saving = logging * max(1, total // (SAVES * logging))
    evaluates = evaluation is not None and len(evaluation) > 0
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=4 * training.batch_size,
        learning_rate=training.rate(train.hidden_size),
        lr_scheduler_type="cosine",
        warmup_steps=max(1, round(WARMUP * total)),
        weight_decay=0.01,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=saving if evaluates else None,
        save_strategy="steps",
        save_steps=saving,
        save_total_limit=LASTING,
        logging_steps=logging,
        report_to=[],
        seed=training.seed,
        label_names=["acceptance"],
        remove_unused_columns=False,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        use_cpu=place.type == "cpu",
    )
    if place.type == "cuda":  # the Trainer has turned to the first GPU, whichever was asked for
        torch.cuda.set_device(asked)
        arguments.__dict__["_setup_devices"] = torch.device("cuda", asked)
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # several GPUs would share each batch, and multiply it
    return arguments


class _Learning(Trainer):
    """The Trainer, whose closing row tells the mean loss of the whole training, not of the part since a resumption."""

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "train_loss" in logs:
            rows = [(row["step"], row["loss"]) for row in self.state.log_history if "loss" in row]
            steps = [0, *(int(step) for step, _ in rows)]
            losses = sum(loss * (step - before) for before, (step, loss) in zip(steps, rows, strict=False))
            logs = {**logs, "train_loss": losses / max(steps[-1], 1)}
        super().log(logs, start_time)


class _LastStep(TrainerCallback):
    """Tells every step, and has the last one logged, evaluated and saved like those before it."""

    def __init__(self, step: Step) -> None:
        self._step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._step(state.global_step, state.max_steps)
        if state.global_step >= state.max_steps:
            control.should_log = control.should_save = True
            control.should_evaluate = args.eval_strategy != "no"


class _WithLoss(torch.nn.Module):
    """A head that answers the Trainer with loss and logits."""

    _keys_to_ignore_on_save: list[str] | None = (
        None  # the Trainer asks, where a shared block's names are missing
    )

    def __init__(self, head: AcceptancePredictionHead, mismatch_weight: float) -> None:
        super().__init__()
        self.head = head
        self.mismatch_weight = mismatch_weight

    def forward(self, hidden: torch.Tensor, acceptance: torch.Tensor) -> dict[str, Any]:
        logits = self.head(hidden)
        loss = acceptance_loss(logits, acceptance, mismatch_weight=self.mismatch_weight)
        return {"loss": loss, "logits": logits}

    def state_dict(self, *args: Any, **options: Any) -> Any:
        """Each tensor once: safetensors, which checkpoints are stored in, refuses a shared block's other names."""
        found = super().state_dict(*args, **options)
        seen: set[int] = set()
        for name in list(found):
            if found[name].data_ptr() in seen:
                del found[name]
            else:
                seen.add(found[name].data_ptr())
        return found


def _as_it_comes(batch: Any) -> dict[str, Any]:
    """The loader asks for a batch at once, so there is nothing to put together."""
    found: dict[str, Any] = batch
    return found


def _kl_metric(prediction: EvalPrediction) -> dict[str, float]:
    logits = torch.from_numpy(np.asarray(prediction.predictions))
    acceptance = torch.from_numpy(np.asarray(prediction.label_ids))
    return {"KL": acceptance_kl(logits, acceptance).item()}
