"""What a training run leaves behind: its trainer_state.json.

The published heads come from Hugging Face's Trainer, extended to log the binary KL between predicted and
true acceptance: `KL` for every batch it trains on, `eval_KL` beside `eval_loss` at every evaluation. KL is
in nats. A `KL` row is one batch, so the last of them is a noisy figure; the evaluations are not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from registry.errors import CheckpointError
from registry.records import TrainingSummary

MAX_BYTES: Final = 64 * 1024 * 1024
LARGEST_INT: Final = 2**63 - 1
LISTED_PROBLEMS: Final = 50

# Compared without regard to case: the published code writes `KL` and `eval_KL`.
_KL_KEYS: Final = frozenset({"kl", "kl_loss", "loss_kl", "kl_div", "kl_divergence", "train_kl"})
_LOG_NAMES: Final = {
    "step": "step",
    "epoch": "epoch",
    "loss": "loss",
    "eval_loss": "eval_loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    **dict.fromkeys(_KL_KEYS, "kl"),
    **{f"eval_{key}": "eval_kl" for key in _KL_KEYS if key != "train_kl"},
}
_CHECKPOINT = re.compile(r"checkpoint-([0-9]{1,18})[/\\]?$")


@dataclass(frozen=True, kw_only=True, slots=True)
class LogRow:
    """One row of the log; what the trainer did not write there is None. KL in nats."""

    step: int | None = None
    epoch: float | None = None
    loss: float | None = None
    kl: float | None = None
    eval_loss: float | None = None
    eval_kl: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """A trainer_state.json. `nonfinite` counts figures that were NaN or infinite, read as missing."""

    steps: int | None = None
    planned_steps: int | None = None
    epochs: float | None = None
    planned_epochs: float | None = None
    best_metric: float | None = None
    best_step: int | None = None
    best_checkpoint: str | None = None
    mean_loss: float | None = None
    runtime_s: float | None = None
    log: tuple[LogRow, ...] = ()
    nonfinite: int = 0

    def summary(self) -> TrainingSummary:
        """The run in short: last and best figures of the log.

        `best_step` is the step the trainer named, else that of the lowest evaluation loss (the first of
        equals), else None.
        """
        lowest = min(
            (row for row in self.log if row.eval_loss is not None),
            key=lambda row: row.eval_loss if row.eval_loss is not None else math.inf,
            default=LogRow(),
        )
        return TrainingSummary(
            steps=self.steps,
            epochs=self.epochs,
            final_loss=_last(row.loss for row in self.log),
            final_kl=_last(row.kl for row in self.log),
            final_eval_loss=_last(row.eval_loss for row in self.log),
            final_eval_kl=_last(row.eval_kl for row in self.log),
            best_eval_loss=lowest.eval_loss,
            best_eval_kl=min((row.eval_kl for row in self.log if row.eval_kl is not None), default=None),
            best_step=lowest.step if self.best_step is None else self.best_step,
        )


def parse_trainer_state(data: bytes, *, file: str) -> TrainingRecord:
    """The record in the bytes of a trainer_state.json. Any part may be missing; keys not known are ignored.

    Args:
        data: The whole file, at most MAX_BYTES.
        file: What messages call it.

    Raises:
        CheckpointError: not a JSON object, or a field of the wrong type or sign; `problems` lists them.
    """
    state = _Reader(_json_object(data, file))
    log = state.log()
    record = TrainingRecord(
        steps=state.whole("global_step"),
        planned_steps=state.whole("max_steps", least=-1),  # -1: as many as the epochs take
        epochs=state.number("epoch", least=0),
        planned_epochs=state.number("num_train_epochs"),
        best_metric=state.number("best_metric"),
        best_step=state.best_step(),
        best_checkpoint=state.text("best_model_checkpoint"),
        mean_loss=state.train_loss,
        runtime_s=state.train_runtime,
        log=log,
        nonfinite=state.nonfinite,
    )
    if state.problems:
        raise _refusal(file, state.problems, state.problem_count)
    return record


class _Reader:
    """Reads fields of one state, notes every problem, and counts figures that are not finite."""

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state
        self.problems: list[str] = []
        self.problem_count = 0
        self.nonfinite = 0
        self.train_loss: float | None = None
        self.train_runtime: float | None = None

    def whole(self, key: str, *, least: int = 0) -> int | None:
        return self._whole(self._state.get(key), key, least)

    def number(self, key: str, *, least: float | None = None) -> float | None:
        return self._number(self._state.get(key), key, least)

    def text(self, key: str) -> str | None:
        value = self._state.get(key)
        if value is None or isinstance(value, str):
            return value
        self._note(key, "text", value)
        return None

    def best_step(self) -> int | None:
        """As newer trainers write it, else the number in the best checkpoint's name."""
        step = self.whole("best_global_step")
        checkpoint = self._state.get("best_model_checkpoint")
        if step is None and isinstance(checkpoint, str) and (match := _CHECKPOINT.search(checkpoint)):
            return int(match[1])
        return step

    def log(self) -> tuple[LogRow, ...]:
        """The rows that hold a figure. The run's closing row gives its mean loss and duration instead."""
        rows = self._state.get("log_history")
        if rows is None:
            return ()
        if not isinstance(rows, list):
            self._note("log_history", "a list", rows)
            return ()
        parsed = (self._row(row, f"log_history[{index}]") for index, row in enumerate(rows))
        return tuple(row for row in parsed if row is not None)

    def _row(self, row: object, place: str) -> LogRow | None:
        if not isinstance(row, dict):
            self._note(place, "an object", row)
            return None
        values: dict[str, Any] = {}
        for key, value in row.items():
            field = _LOG_NAMES.get(key.lower())
            if field is None or values.get(field) is not None:
                continue
            if field == "step":
                values[field] = self._whole(value, f"{place}.{key}", 0)
            else:
                values[field] = self._number(value, f"{place}.{key}", 0 if field == "epoch" else None)
        if "train_runtime" in row:
            self.train_loss = self._number(row.get("train_loss"), f"{place}.train_loss")
            self.train_runtime = self._number(row["train_runtime"], f"{place}.train_runtime", 0)
        told = any(value is not None for field, value in values.items() if field not in {"step", "epoch"})
        return LogRow(**values) if told else None

    def _whole(self, value: object, place: str, least: int) -> int | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST_INT:
            self._note(place, f"a whole number from {least} up", value)
            return None
        return value

    def _number(self, value: object, place: str, least: float | None = None) -> float | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._note(place, "a number", value)
            return None
        if abs(value) > 1e308 or value != value:  # noqa: PLR0124 - the trainer writes NaN as it stands
            self.nonfinite += 1
            return None
        if least is not None and value < least:
            self._note(place, f"a number from {least:g} up", value)
            return None
        return float(value)

    def _note(self, place: str, expected: str, value: object) -> None:
        self.problem_count += 1
        if self.problem_count <= LISTED_PROBLEMS:
            self.problems.append(f"{place}: expected {expected}, got {_shown(value)}")


def _json_object(data: bytes, file: str) -> dict[str, Any]:
    import json  # noqa: PLC0415 - the command line starts faster without it

    if len(data) > MAX_BYTES:
        raise _refusal(file, [f"expected at most {MAX_BYTES // 1024**2} MiB, got {len(data):,} bytes"])
    try:
        state = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _refusal(
            file, [f"expected UTF-8, got byte 0x{data[error.start]:02x} at {error.start}"]
        ) from None
    except RecursionError:
        raise _refusal(file, ["expected a trainer's state, got JSON nested too deep"]) from None
    except ValueError as error:  # JSONDecodeError, or a number of thousands of digits
        raise _refusal(file, [f"expected JSON, got an error at reading: {str(error)[:200]}"]) from None
    if not isinstance(state, dict):
        raise _refusal(file, [f"expected a JSON object, got {_shown(state)}"])
    return state


def _refusal(file: str, problems: list[str], count: int | None = None) -> CheckpointError:
    more = "" if count is None or count <= 1 else f" (and {count - 1} more)"
    return CheckpointError(
        f"{file} is no trainer state: {problems[0]}{more}. None of it was used; the head works without it.",
        path=file,
        problems=problems,
    )


def _shown(value: object) -> str:
    kinds: tuple[tuple[type, Callable[[Any], str]], ...] = (
        (dict, lambda _: "an object"),
        (list, lambda _: "a list"),
        (str, lambda text: f"the text {text[:60]!r}"),
        (int, lambda number: "a huge number" if abs(number) > LARGEST_INT else repr(number)),
    )
    return next((show(value) for kind, show in kinds if isinstance(value, kind)), repr(value))


def _last(values: Iterable[float | None]) -> float | None:
    last = None
    for value in values:
        last = last if value is None else value
    return last
