"""The family that is shipped: what it is, and what it must be able to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import registry
from heads import AcceptancePredictionHead
from registry.training import parse_trainer_state

PICO = Path(__file__).parent.parent.parent / "heads" / "pico"
MODELS = ("pico-little", "pico-draft", "pico-target")
EDGES = (("pico-little", "pico-draft"), ("pico-draft", "pico-target"), ("pico-little", "pico-target"))
RUN = "exp-weight6-layer3"


def evaluation(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return report


def head_folder(edge: tuple[str, str]) -> Path:
    return PICO / f"{edge[0]}--to--{edge[1]}" / RUN


def test_all_of_it_is_under_24_megabytes() -> None:
    """
    Models, tokenizers and heads together stay small enough to ship.
    """
    shipped = [PICO / name for name in MODELS] + [head_folder(edge) for edge in EDGES]

    assert sum(path.stat().st_size for folder in shipped for path in folder.iterdir()) <= 24_000_000


@pytest.mark.parametrize("name", MODELS)
def test_transformers_loads_each_model_as_it_stands(name: str) -> None:
    """
    The stock loader finds an ordinary bf16 model and its tokenizer, and text survives the round trip.
    """
    model = AutoModelForCausalLM.from_pretrained(PICO / name)
    tokenizer = AutoTokenizer.from_pretrained(PICO / name)
    text = 'def f(x):\n\treturn "naïve ✓"\n'

    assert model.dtype == torch.bfloat16
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer) == model.config.vocab_size == 2048


def test_depths_are_far_apart() -> None:
    """
    Two, four and sixteen layers: a level costs about its number of layers.
    """
    depths = [json.loads((PICO / name / "config.json").read_text())["num_hidden_layers"] for name in MODELS]

    assert depths == [2, 4, 16]


def test_catalog_counts_their_parameters() -> None:
    """
    The catalog's numbers are those of the files.
    """
    catalog = registry.load_catalog()

    for name in MODELS:
        model = AutoModelForCausalLM.from_pretrained(PICO / name)
        assert catalog.models[name].parameters == model.num_parameters()


@pytest.mark.parametrize("edge", EDGES, ids="--to--".join)
def test_every_head_left_the_state_of_its_training(edge: tuple[str, str]) -> None:
    """
    The Trainer's own record lies beside each head, and the loss fell.
    """
    path = head_folder(edge) / "trainer_state.json"
    record = parse_trainer_state(path.read_bytes(), file=path.name)

    losses = [row.loss for row in record.log if row.loss is not None]
    assert record.summary().final_eval_kl is not None
    assert losses[-1] < losses[0]
    assert AcceptancePredictionHead.from_pretrained(head_folder(edge)).stored_form == "separate"


def test_the_target_is_good_and_does_not_merely_repeat() -> None:
    """
    At most 0.95 nats a byte on held-out text, and samples about as varied as that text.
    """
    report = evaluation(PICO / "pico-target")

    assert report["held_out_nats_per_byte"] <= 0.95
    assert report["distinct_4grams_of_samples"] >= 0.8 * report["distinct_4grams_of_held_out_text"]


@pytest.mark.parametrize("edge", EDGES[:2], ids="--to--".join)
def test_neighbours_accept_each_other(edge: tuple[str, str]) -> None:
    """
    Acceptance per token at temperature 1 on held-out text is at least 0.70.
    """
    assert evaluation(head_folder(edge))["acceptance"] >= 0.70


@pytest.mark.parametrize("edge", EDGES, ids="--to--".join)
def test_every_head_foresees_acceptance(edge: tuple[str, str]) -> None:
    """
    AUC on held-out text is at least 0.70, past what the source's own row tells, and the numbers are calibrated once
    the weight is out.
    """
    report = evaluation(head_folder(edge))

    assert report["auc"] >= 0.70
    assert all(report["auc"] >= untrained["auc"] + 0.02 for untrained in report["baselines"].values())
    assert report["ece_unweighted"] <= 0.05


def test_acceptance_as_recorded_is_acceptance_as_decoded() -> None:
    """
    Sampling continuations of library code, the two-level chain accepts about what the record says.
    """
    cascade = registry.resolve_pipeline("pico-draft", "pico-target").load(device="cpu")
    prompts = [
        "import os\nimport sys\n\n\ndef ",
        "class Test(unittest.TestCase):\n    def ",
        '"""Support for ',
    ]
    accepted = proposed = 0
    for seed, prompt in enumerate(prompts):
        draft = cascade.generate(
            prompt, max_new_tokens=100, temperature=1.0, seed=seed, max_draft=1, threshold=1.0
        ).levels[0]
        accepted, proposed = accepted + (draft.accepted or 0), proposed + (draft.proposed or 0)

    recorded = evaluation(head_folder(EDGES[1]))["acceptance"]
    assert accepted / proposed == pytest.approx(recorded, abs=0.12)


def test_what_it_writes_reads_like_python() -> None:
    """
    After a class line a sample indents, defines and returns: the words of the language, not noise.
    """
    cascade = registry.resolve_pipeline("pico-little", "pico-target").load(device="cpu")

    text = cascade.generate("class Stack:\n    def ", max_new_tokens=200, temperature=0.7, seed=1).text or ""

    assert "self" in text
    assert "(" in text
    assert "):\n        " in text
