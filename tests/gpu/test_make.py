"""The larger family's maker on a CUDA device, step by step as for that family, at a size a test can afford."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import heads.pico.make as making
import registry
from heads.pico.corpus import read_corpus
from heads.pico.make import Family
from heads.pico.recipe import LARGE, RUN, SIZES, Stage
from heads.pico.tokens import VOCAB_SIZE
from registry.errors import UsageError
from tests.conftest import Outcome
from tests.pico.test_make import SMALL

ROOT = Path(__file__).parent.parent.parent
MINUTES = 0.03  # each training: the first steps of a process take a second of it on a GPU


def timed(stage: Stage) -> Stage:
    """The stage for so long."""
    return replace(stage, schedule=replace(stage.schedule, minutes=MINUTES))


RECIPE = replace(
    SMALL,
    family=LARGE.family,
    stages=tuple(map(timed, SMALL.stages)),
    draft=replace(SMALL.draft, minutes=MINUTES),
    little=replace(SMALL.little, minutes=MINUTES),
)


@pytest.mark.gpu
def test_the_larger_family_is_made_and_decodes(
    tmp_path: Path, any_device: torch.device, specreg: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    `--size large --device ...` from the text of this project: all three models have learnt, heads are stored and
    judged, and what the catalog tells is locked, loaded there and decodes.
    """
    corpus = read_corpus(ROOT, ROOT / "none")
    monkeypatch.setattr(making, "read_corpus", lambda: corpus)
    monkeypatch.setitem(SIZES, "large", RECIPE)
    out = tmp_path / "out"
    given = (
        "--size",
        "large",
        "--device",
        str(any_device),
        "--work",
        str(tmp_path / "work"),
        "--out",
        str(out),
    )
    monkeypatch.setattr("sys.argv", ["make", *given])

    making.main()

    for name in RECIPE.models:
        told = json.loads((out / name / "evaluation.json").read_text())
        assert told["held_out_nats_per_token"] < 0.9 * math.log(VOCAB_SIZE)
    for source, target in RECIPE.edges:
        told = json.loads((out / f"{source}--to--{target}" / RUN / "evaluation.json").read_text())
        assert 0 < told["acceptance"] <= 1
        assert 0 < told["auc"] <= 1
    assert specreg("lock", str(out / "catalog.yaml")).code == 0
    pipeline = registry.resolve_pipeline("nano-little", "nano-target", catalog=out / "catalog.yaml")
    assert len(pipeline.models) == 3
    cascade = pipeline.load(device=str(any_device))
    assert {model.device.type for model in cascade.models} == {any_device.type}
    assert cascade.generate("def f(", max_new_tokens=8, eos_token_id=[]).new_tokens == 8


def test_a_device_that_is_not_here_is_refused_before_any_step(tmp_path: Path) -> None:
    """
    With the name that was given, and no corpus was read for nothing.
    """
    with pytest.raises(UsageError, match="No device 'abacus' here"):
        Family(tmp_path / "work", RECIPE, device="abacus")

    assert not (tmp_path / "work").exists()
