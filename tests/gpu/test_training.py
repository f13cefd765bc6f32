"""`specreg train` and `specreg evaluate` on a CUDA device: whole, the same again, and what the CPU says."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from heads import AcceptancePredictionHead
from heads.training.making import WORK
from heads.training.order import Order
from heads.training.pair import Pair
from heads.training.shards import Shards
from heads.training.steps import Steps
from registry.cli import main
from registry.names import find_model
from registry.shelf import Shelf
from tests.training.killed import contents

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("ieee_float32")]
SOURCE, TARGET = "pico-little", "pico-draft"
EDGE, RUN = f"{SOURCE}--to--{TARGET}", "exp-weight6-layer1"
NEW = 16
LINES = [f"def function_{number}(value):\n    return value"[: 12 + number % 20] for number in range(48)]
# How far hidden states and shares of another device may be, and at how many positions rounding may have another token
# drawn: one in six where bfloat16 is held against float32 on one device.
NEAR = {"float32": (1e-4, 0.01), "bfloat16": (0.05, 0.3)}
FIGURES_NEAR = 0.005


@dataclass(frozen=True, kw_only=True)
class Made:
    """A training's end: its command, and where it left everything."""

    command: tuple[str, ...]
    root: Path
    dtype: str

    @property
    def folder(self) -> Path:
        return self.root / EDGE / RUN

    @property
    def work(self) -> Path:
        return self.root / WORK / EDGE / RUN


def run(home: Path, *arguments: str) -> None:
    """A command that ends with 0."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECREG_HOME", str(home / "home"))
        with pytest.raises(SystemExit) as ended:
            main(arguments)
    assert ended.value.code == 0


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few dozen, of different lengths: they are padded when they are continued together."""
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": line}) + "\n" for line in LINES))
    return path


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def made(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    prompts: Path,
    any_device: torch.device,
) -> Made:
    """A head of one edge, trained by models of either dtype."""
    root = tmp_path_factory.mktemp("made") / "heads"
    command = (
        *("train", SOURCE, TARGET, "--prompts", str(prompts), "--run", RUN, "--layers", "1"),
        *("--max-new-tokens", str(NEW), "--positions", "64", "--epochs", "5", "--held-out", "0.2"),
        *("--device", str(any_device), "--dtype", request.param, "--json", "--out"),
    )
    run(root.parent, *command, str(root))
    return Made(command=command, root=root, dtype=request.param)


def test_a_head_comes_whole_and_has_learnt(made: Made) -> None:
    """
    All of its files are there, it loads with its calibration, its loss fell, and features keep the models' dtype.
    """
    assert {path.name for path in made.folder.iterdir()} == {
        *("config.json", "model.safetensors", "trainer_state.json"),
        *("calibration.json", "evaluation.json", "README.md"),
    }
    head = AcceptancePredictionHead.from_pretrained(made.folder)
    assert head.calibration is not None
    assert {weight.device.type for weight in head.parameters()} == {"cpu"}
    assert all(bool(weight.isfinite().all()) for weight in head.parameters())
    log = json.loads((made.folder / "trainer_state.json").read_text())["log_history"]
    losses = [row["loss"] for row in log if "loss" in row]
    few = len(losses) // 4
    assert sum(losses[-few:]) < 0.95 * sum(losses[:few])
    assert features(made.work)["hidden"].dtype == getattr(torch, made.dtype)


@pytest.mark.parametrize("left", ["nothing", "texts", "features", "checkpoint"])
def test_broken_off_and_given_again_it_ends_with_the_same_head(made: Made, left: str, tmp_path: Path) -> None:
    """
    Whatever steps are left of it: weights, calibration, evaluation, card and log are the same bytes.
    """
    again = Made(command=made.command, root=tmp_path / "heads", dtype=made.dtype)
    keep_only(left, made, again)

    run(tmp_path, *again.command, str(again.root))

    assert contents(again.folder) == contents(made.folder)


def test_features_are_those_that_the_cpu_finds(made: Made, tmp_path: Path) -> None:
    """
    Of the same texts: within 1e-4 of the largest hidden state, and of a share, at 99 positions of 100 in float32,
    and within 0.05 at 70 of 100 in bfloat16.
    """
    shutil.copytree(made.work / "texts", tmp_path / "texts")
    shelf = Shelf.open()
    ends = [find_model(shelf.catalog, name) for name in (SOURCE, TARGET)]
    pair = Pair(shelf, *ends, device="cpu", dtype=made.dtype)
    order = Order(source=ends[0], target=ends[1], run="cpu", prompts=tuple(LINES), max_new_tokens=NEW)
    ids = pair.encoded(LINES, chat=False, new_tokens=NEW)
    Steps(pair, order, ids, tmp_path, say=lambda _: None, bar=lambda *_: nullcontext(print)).features()

    mine, other = features(made.work), features(tmp_path)

    near, elsewhere = NEAR[made.dtype]
    assert torch.equal(mine["prompt"], other["prompt"])
    gaps = (mine["hidden"].float() - other["hidden"].float()).abs().amax(dim=1)
    same = gaps <= near * other["hidden"].float().abs().max()
    same &= (mine["acceptance"] - other["acceptance"]).abs() <= near
    assert float((~same).float().mean()) <= elsewhere
    # of the whole row, whatever was drawn from it
    torch.testing.assert_close(mine["entropy"], other["entropy"], atol=4 * near, rtol=near)
    surest = [torch.sigmoid(one["confidence"]) for one in (mine, other)]
    torch.testing.assert_close(*surest, atol=4 * near, rtol=near)


def features(work: Path) -> dict[str, torch.Tensor]:
    """The one shard of features."""
    (name,) = (shards := Shards(work / "features")).files
    return shards.read(name)


def keep_only(left: str, made: Made, again: Made) -> None:
    """Of a whole training what a kill leaves that hits it when `left` is done."""
    if left == "nothing":
        return
    shutil.copytree(made.work, again.work)
    gone = {"texts": ["features", "training"], "features": ["training"], "checkpoint": []}[left]
    for step in gone:
        shutil.rmtree(again.work / step)
    if left == "checkpoint":
        checkpoints = sorted(
            again.work.glob("training/checkpoint-*"), key=lambda path: int(path.name.split("-")[1])
        )
        assert len(checkpoints) == 2
        shutil.rmtree(checkpoints[1])
    for file in ("head.json", "costs.json"):
        (again.work / file).unlink()


def judged(folder: Path, prompts: Path, place: str) -> dict[str, Any]:
    """What `evaluate` says there of the embedded head of that edge, on ten prompts."""
    folder.mkdir()
    few, out = folder / "few.jsonl", folder / "report.json"
    few.write_text("".join(prompts.read_text().splitlines(keepends=True)[:10]))
    run(
        folder,
        *("evaluate", f"{EDGE}/exp-weight6-layer3", "--prompts", str(few), "--max-new-tokens", str(NEW)),
        *("--device", place, "--dtype", "float32", "--out", str(out)),
    )
    report: dict[str, Any] = json.loads(out.read_text())
    return report


def test_a_head_is_judged_as_on_the_cpu(prompts: Path, tmp_path: Path, any_device: torch.device) -> None:
    """
    In float32 every figure, the baselines' too, is that of the CPU within 0.005, over as many positions.
    """
    mine = judged(tmp_path / "mine", prompts, str(any_device))
    other = judged(tmp_path / "other", prompts, "cpu")

    assert mine.keys() == other.keys()
    assert [mine[name] for name in ("positions", "prompts", "calibration")] == [
        other[name] for name in ("positions", "prompts", "calibration")
    ]
    figures = [name for name, value in other.items() if isinstance(value, float)]
    assert {"base_rate", "auc", "brier", "ece", "ece_token", "ece_raw"} <= set(figures)
    for name in figures:
        assert mine[name] == pytest.approx(other[name], abs=FIGURES_NEAR), name
    for name, one in other["baselines"].items():
        assert mine["baselines"][name]["auc"] == pytest.approx(one["auc"], abs=FIGURES_NEAR), name
    survival = other["drafts"]["survival_by_place"]
    assert mine["drafts"]["survival_by_place"] == pytest.approx(survival, abs=FIGURES_NEAR)
