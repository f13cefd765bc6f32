from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import CheckpointError
from registry.records import TrainingSummary
from registry.runs import RunFacts, parse_run_name
from registry.training import MAX_BYTES, LogRow, TrainingRecord, parse_trainer_state

STATE: dict[str, Any] = {
    "best_metric": 0.41,
    "best_model_checkpoint": "/runs/exp/checkpoint-20",
    "epoch": 2.99,
    "global_step": 30,
    "is_local_process_zero": True,
    "log_history": [
        {"KL": 0.9, "epoch": 0.1, "step": 1},
        {"KL": 0.8, "epoch": 0.1, "step": 1},
        {"epoch": 1.0, "grad_norm": 0.5, "learning_rate": 5e-05, "loss": 0.7, "step": 10},
        {"epoch": 1.0, "eval_KL": 0.31, "eval_loss": 0.52, "eval_runtime": 3.5, "step": 10},
        {"epoch": 2.0, "eval_KL": 0.33, "eval_loss": 0.41, "step": 20},
        {"KL": 0.2, "epoch": 2.9, "step": 29},
        {"epoch": 2.9, "loss": 0.3, "step": 30},
        {"epoch": 2.99, "eval_KL": 0.35, "eval_loss": 0.44, "step": 30},
        {"epoch": 2.99, "step": 30, "total_flos": 0.0, "train_loss": 0.48, "train_runtime": 61.5},
    ],
    "max_steps": 30,
    "num_train_epochs": 3,
    "trial_name": None,
}


def parsed(state: object) -> TrainingRecord:
    return parse_trainer_state(json.dumps(state).encode(), file="trainer_state.json")


def problems(state: object) -> tuple[str, ...]:
    with pytest.raises(CheckpointError) as caught:
        parsed(state)
    assert caught.value.path == "trainer_state.json"
    assert str(caught.value).startswith("trainer_state.json is no trainer state: ")
    return caught.value.problems


def test_state_of_the_published_kind_becomes_a_record() -> None:
    """Every figure that the published training code writes finds its field."""
    record = parsed(STATE)

    assert (record.steps, record.planned_steps, record.epochs, record.planned_epochs) == (30, 30, 2.99, 3.0)
    assert (record.best_metric, record.best_step) == (0.41, 20)
    assert record.best_checkpoint == "/runs/exp/checkpoint-20"
    assert (record.mean_loss, record.runtime_s, record.nonfinite) == (0.48, 61.5, 0)
    assert len(record.log) == 8
    assert record.log[0] == LogRow(step=1, epoch=0.1, kl=0.9)
    assert record.log[3] == LogRow(step=10, epoch=1.0, eval_loss=0.52, eval_kl=0.31)


def test_summary_holds_last_and_best_figures() -> None:
    """The last figures are the last logged, the best the lowest."""
    assert parsed(STATE).summary() == TrainingSummary(
        steps=30,
        epochs=2.99,
        final_loss=0.3,
        final_kl=0.2,
        final_eval_loss=0.44,
        final_eval_kl=0.35,
        best_eval_loss=0.41,
        best_eval_kl=0.31,
        best_step=20,
    )


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"best_global_step": 10}, 10),
        ({"best_model_checkpoint": r"C:\runs\checkpoint-30"}, 30),
        ({"best_model_checkpoint": "/runs/best"}, 20),
        ({"best_model_checkpoint": None, "log_history": []}, None),
    ],
    ids=["named", "in the folder's name", "lowest loss", "unknown"],
)
def test_best_step_comes_from_the_best_witness(change: dict[str, Any], step: int | None) -> None:
    """What the trainer says counts first, then its checkpoint's name, then the lowest evaluation loss."""
    assert parsed({**STATE, **change}).summary().best_step == step


@settings(deadline=None, derandomize=True)
@given(kept=st.sets(st.sampled_from(sorted(STATE))))
def test_any_part_may_be_missing(kept: set[str]) -> None:
    """A state with any of its parts left out is still a record."""
    record = parsed({key: STATE[key] for key in kept})

    assert (record.steps is not None) == ("global_step" in kept)
    assert bool(record.log) == ("log_history" in kept)


@pytest.mark.parametrize("key", ["KL", "kl", "train_KL", "kl_loss", "KL_div", "kl_divergence"])
def test_training_kl_has_several_spellings(key: str) -> None:
    """KL is known under the names that training code gives it."""
    assert parsed({"log_history": [{key: 0.5, "step": 3}]}).log == (LogRow(step=3, kl=0.5),)


@pytest.mark.parametrize("key", ["eval_KL", "eval_kl", "eval_loss_kl", "eval_kl_loss", "eval_KL_divergence"])
def test_evaluation_kl_has_several_spellings(key: str) -> None:
    """KL of an evaluation is known under the names that training code gives it."""
    assert parsed({"log_history": [{key: 0.5}]}).log == (LogRow(eval_kl=0.5),)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400])
def test_figure_that_is_not_finite_is_missing_and_counted(literal: str) -> None:
    """The trainer writes a lost loss as NaN: the figure is missing, the record is not."""
    text = '{"log_history": [{"loss": 0.5, "step": 1}, {"loss": LITERAL, "step": 2}], "epoch": LITERAL}'
    record = parse_trainer_state(text.replace("LITERAL", literal).encode(), file="f")

    assert (record.nonfinite, record.epochs, record.summary().final_loss) == (2, None, 0.5)


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ([], "expected a JSON object, got a list"),
        ({"global_step": -1}, "global_step: expected a whole number from 0 up, got -1"),
        ({"global_step": 1.5}, "global_step: expected a whole number from 0 up, got 1.5"),
        ({"global_step": True}, "global_step: expected a whole number from 0 up, got True"),
        ({"global_step": 10**30}, "global_step: expected a whole number from 0 up, got a huge number"),
        ({"epoch": "3"}, "epoch: expected a number, got the text '3'"),
        ({"epoch": -0.5}, "epoch: expected a number from 0 up, got -0.5"),
        ({"best_metric": {}}, "best_metric: expected a number, got an object"),
        ({"best_model_checkpoint": 3}, "best_model_checkpoint: expected text, got 3"),
        ({"log_history": {}}, "log_history: expected a list, got an object"),
        ({"log_history": [{}, 7]}, "log_history[1]: expected an object, got 7"),
        ({"log_history": [{"loss": "low"}]}, "log_history[0].loss: expected a number, got the text 'low'"),
        ({"log_history": [{"eval_KL": [1]}]}, "log_history[0].eval_KL: expected a number, got a list"),
        ({"log_history": [{"step": -3}]}, "log_history[0].step: expected a whole number from 0 up, got -3"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_nonsense_is_refused_by_field(state: object, problem: str) -> None:
    """What cannot be a state is refused with its field, what was expected and what is there."""
    assert problems(state) == (problem,)


def test_all_problems_are_listed() -> None:
    """One wrong field does not hide the next."""
    assert len(problems({"global_step": -1, "epoch": "x", "log_history": [3, {"loss": ""}]})) == 4


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff{}",
        b"[" * 200_000,
        b'{"global_step": ' + b"1" * 10_000 + b"}",
        b" " * (MAX_BYTES + 1),
    ],
    ids=["empty", "cut", "not UTF-8", "deep", "huge number", "huge file"],
)
def test_bytes_that_are_no_state_are_refused_by_name(data: bytes) -> None:
    """Whatever the bytes, the error is the one that names the file."""
    with pytest.raises(CheckpointError, match=r"^f is no trainer state: "):
        parse_trainer_state(data, file="f")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["loss", "step", "KL"]), inner)
    ),
    max_leaves=6,
)


@settings(deadline=None, derandomize=True)
@given(
    state=st.dictionaries(st.sampled_from(sorted(STATE)), JSON_VALUES), log=st.lists(JSON_VALUES, max_size=3)
)
def test_any_json_is_a_record_or_refused(state: dict[str, Any], log: list[Any]) -> None:
    """Any JSON object ends as a record with a summary, or as a refusal; nothing else is raised."""
    try:
        record = parsed({"log_history": log, **state})
    except CheckpointError as error:
        assert error.problems  # noqa: PT017 - either end is right
    else:
        assert isinstance(record.summary(), TrainingSummary)


@pytest.mark.parametrize(
    ("run", "weight", "layers"),
    [
        ("exp-weight6-layer3", 6.0, 3),
        ("exp-weight-layer3", None, 3),
        ("exp-qwen-weight6-layer3", 6.0, 3),
        ("exp-qwen3-0.6b-weight1.5-layer10", 1.5, 10),
        ("exp-weight6-layer3-lr1e-4", 6.0, 3),
        ("exp-weight6-layer3b", None, None),
        ("exp-weight6", None, None),
        ("weight6-layer3", None, None),
        ("exp-weightsix-layer3", None, None),
        ("exp-weight6-layer٣", None, None),
        ("exp-weight" + "9" * 99 + "-layer3", None, None),
        ("", None, None),
    ],
)
def test_run_name_says_weight_and_depth(run: str, weight: float | None, layers: int | None) -> None:
    """A run's name tells the mismatch weight and the depth when it has the published form."""
    assert parse_run_name(run) == RunFacts(mismatch_weight=weight, layers=layers)
