"""`specreg train` and `specreg evaluate` from the outside."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import registry
from heads import AcceptancePredictionHead
from registry.cli import main
from registry.training import parse_trainer_state
from tests.conftest import Outcome
from tests.training.killed import contents

Run = Callable[..., Outcome]
EDGE = "pico-draft--to--pico-target"
NAME = "exp-weight6-layer1"
OPTIONS = ("--run", NAME, "--max-new-tokens", "8", "--layers", "1", "--epochs", "2", "--held-out", "0.2")
LINES = [f"def function_{number}(value):\n    return value" for number in range(130)]


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts of three shards, of different lengths."""
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": line[: 12 + at % 20]}) + "\n" for at, line in enumerate(LINES))
    )
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, prompts: Path) -> Path:
    """The folder that one whole training left."""
    out = tmp_path_factory.mktemp("made")
    run(out, *command(prompts, out))
    return out


def run(home: Path, *arguments: str) -> None:
    """A command that ends with 0, for fixtures that outlive a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECREG_HOME", str(home / "home"))
        with pytest.raises(SystemExit) as ended:
            main(arguments)
    assert ended.value.code == 0


def command(prompts: Path, out: Path) -> list[str]:
    return [
        *("train", "pico-draft", "pico-target", "--prompts", str(prompts), "--out", str(out / "heads")),
        *(*OPTIONS, "--json"),
    ]


def test_a_head_is_left_as_published_with_a_card_and_an_entry(made: Path) -> None:
    """
    The folder loads as it is, its config holds the two keys, and catalog and lock know the head.
    """
    folder = made / "heads" / EDGE / NAME

    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("config.json", "model.safetensors", "trainer_state.json"),
        *("calibration.json", "evaluation.json", "README.md"),
    }
    assert json.loads((folder / "config.json").read_text()) == {"hidden_size": 192, "num_layers": 1}
    state = parse_trainer_state((folder / "trainer_state.json").read_bytes(), file="trainer_state.json")
    assert state.summary().final_eval_kl is not None
    assert f"# Acceptance prediction head `{EDGE}/{NAME}`" in (folder / "README.md").read_text()
    (head,) = [one for one in registry.load_catalog(made / "heads" / "catalog.yaml").heads if one.run == NAME]
    stored = AcceptancePredictionHead.from_pretrained(folder)
    assert head.calibration is not None
    assert stored.calibration == head.calibration
    assert head.training is not None
    assert head.training.steps == state.steps
    lock = json.loads((made / "heads" / "catalog.lock").read_text())
    assert set(lock["heads"][f"{EDGE}/{NAME}"]["files"]) == names


def test_decode_and_verify_take_it_at_once(specreg: Run, made: Path) -> None:
    """
    With the catalog that was written, and nothing else to do.
    """
    catalog = str(made / "heads" / "catalog.yaml")

    verified = specreg("verify", f"{EDGE}/{NAME}", "--catalog", catalog, "--json")
    decoded = specreg(
        *("decode", "pico-draft", "pico-target", "--length", "2", "--run", NAME, "--catalog", catalog),
        *("--prompt", "def f(", "--max-new-tokens", "4", "--json"),
    )

    assert (verified.code, json.loads(verified.out)["ok"]) == (0, True)
    assert decoded.code == 0
    assert json.loads(decoded.out)["new_tokens"] == 4


def test_given_again_it_is_there_already(specreg: Run, made: Path, prompts: Path, tmp_path: Path) -> None:
    """
    The same command trains nothing again, and leaves every file as it was.
    """
    shutil.copytree(made / "heads", tmp_path / "heads")
    before = {path: path.read_bytes() for path in (tmp_path / "heads").rglob("*") if path.is_file()}

    found = specreg(*command(prompts, tmp_path))

    assert found.code == 0, found.err
    assert "there already" in found.err
    assert {path: path.read_bytes() for path in (tmp_path / "heads").rglob("*") if path.is_file()} == before


def test_other_options_in_the_same_place_are_refused(
    specreg: Run, made: Path, prompts: Path, tmp_path: Path
) -> None:
    """
    A step of another training is not taken up: every difference is told.
    """
    shutil.copytree(made / "heads", tmp_path / "heads")
    asked = command(prompts, tmp_path)

    found = specreg(*asked, "--seed", "1", "--epochs", "3")

    assert found.code == 2
    assert "seed was 0, now 1" in found.err
    assert "training.epochs was 2.0, now 3.0" in found.err


def test_a_corrupted_shard_is_detected_and_made_again_when_deleted(
    specreg: Run, made: Path, prompts: Path, tmp_path: Path
) -> None:
    """
    One flipped bit ends the command with the shard's name; without that file the same head comes out.
    """
    shutil.copytree(made / "heads", tmp_path / "heads")
    work = tmp_path / "heads" / ".work" / EDGE / NAME
    shutil.rmtree(tmp_path / "heads" / EDGE)
    shutil.rmtree(work / "training")
    shard = work / "features" / "features-00001.safetensors"
    content = bytearray(shard.read_bytes())
    content[-100] ^= 1
    shard.write_bytes(content)
    (tmp_path / "heads" / "catalog.yaml").unlink()

    refused = specreg(*command(prompts, tmp_path))
    believed = list(work.glob("training/checkpoint-*"))
    shard.unlink()
    mended = specreg(*command(prompts, tmp_path))

    assert refused.code == 1
    assert f"{shard} is damaged" in refused.err
    assert believed == []
    assert mended.code == 0, mended.err
    assert contents(tmp_path / "heads" / EDGE / NAME) == contents(made / "heads" / EDGE / NAME)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--layers", "2"), "says 1 residual blocks"),
        (("--mismatch-weight", "3"), "says a weight of 6"),
        (("--mixing-ratio", "0.5"), "--mixing-ratio is of --labels row"),
        (("--top-p", "0"), "top_p must be"),
        (("--max-new-tokens", "2000"), "No prompt fits"),
        (("--file", "elsewhere/catalog.yaml"), "does not lie below"),
        (("--device", "abacus"), "No device 'abacus'"),
    ],
    ids=lambda value: value[0].strip("-") if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_is_refused_before_anything_is_made(
    specreg: Run, prompts: Path, tmp_path: Path, more: tuple[str, ...], told: str
) -> None:
    """
    A sentence says what is wrong, and no step has begun.
    """
    (tmp_path / "elsewhere").mkdir()
    given = [str(tmp_path / one) if one.startswith("elsewhere") else one for one in more]

    found = specreg(*command(prompts, tmp_path), *given)

    assert found.code == 2
    assert told in found.err
    assert not list((tmp_path / "heads").rglob("texts"))


def test_models_of_two_vocabularies_are_refused(specreg: Run, prompts: Path, tmp_path: Path) -> None:
    """
    A model of the catalog that is not here is named before anything is made.
    """
    found = specreg(
        "train",
        "qwen3-0.6b",
        "pico-target",
        "--prompts",
        str(prompts),
        "--out",
        str(tmp_path / "x"),
        *OPTIONS,
    )

    assert found.code == 2
    assert "qwen3-0.6b is not on this machine" in found.err


def test_the_published_labelling_and_the_shared_block_are_there(
    specreg: Run, prompts: Path, tmp_path: Path
) -> None:
    """
    `--labels row` leaves out the mixed share, and `--shared-block` stores one block.
    """
    few = tmp_path / "few.jsonl"
    few.write_text("".join(prompts.read_text().splitlines(keepends=True)[:20]))

    found = specreg(
        *("train", "pico-little", "pico-draft", "--prompts", str(few), "--out", str(tmp_path / "heads")),
        *(
            "--run",
            "as-published",
            "--labels",
            "row",
            "--mixing-ratio",
            "0.5",
            "--shared-block",
            "--no-calibration",
        ),
        *("--max-new-tokens", "16", "--epochs", "1", "--json"),
    )

    assert found.code == 0, found.err
    told = json.loads(found.out)
    assert told["calibration"] is None
    assert 0.3 * 20 * 16 < told["costs"]["positions"] < 0.7 * 20 * 16
    assert AcceptancePredictionHead.from_pretrained(told["folder"]).stored_form == "shared"


@pytest.fixture(scope="module")
def report(made: Path, prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `evaluate --json` says of that head on a few prompts, with a figure beside it."""
    folder = tmp_path_factory.mktemp("judged")
    few = folder / "few.jsonl"
    few.write_text("".join(prompts.read_text().splitlines(keepends=True)[:10]))
    run(
        folder,
        *("evaluate", str(made / "heads" / EDGE / NAME), "--prompts", str(few), "--max-new-tokens", "16"),
        *("--out", str(folder / "report.json"), "--figure", str(folder / "figure.svg")),
    )
    assert (folder / "figure.svg").read_text().startswith("<?xml")
    told: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return told


def test_the_report_has_the_promised_keys(report: dict[str, Any]) -> None:
    """
    Ranking, calibration by calibrated and by raw numbers, what needs no head, and the histograms behind.
    """
    assert {"positions", "base_rate", "auc", "brier", "ece", "baselines", "ece_token", "ece_raw"} <= set(
        report
    )
    assert set(report["baselines"]) == {"max_probability", "entropy"}
    assert report["calibrated"]
    for bins in report["histograms"].values():
        assert all(one["low"] <= one["predicted"] <= one["high"] + 1e-6 for one in bins)
    gaps = sum(
        one["count"] * abs(one["predicted"] - one["found"]) for one in report["histograms"]["survival"]
    )
    counted = sum(one["count"] for one in report["histograms"]["survival"])
    assert report["ece"] == pytest.approx(gaps / counted, abs=1e-6)
    places = report["drafts"]["survival_by_place"]
    assert places == sorted(places, reverse=True)


def test_a_recorded_head_is_judged_by_its_name(specreg: Run, prompts: Path, tmp_path: Path) -> None:
    """
    Its files are held against their record, and which numbers are judged is said.
    """
    few = tmp_path / "few.jsonl"
    few.write_text("".join(prompts.read_text().splitlines(keepends=True)[:6]))

    found = specreg("evaluate", EDGE, "--prompts", str(few), "--max-new-tokens", "12")

    assert found.code == 0, found.err
    told = dict(line.split("\t") for line in found.out.splitlines())
    assert told["positions"] == "72"
    assert not math.isnan(float(told["AUC"]))
    assert told["calibration"].startswith(("scale ", "raw numbers"))


def test_a_folder_of_no_edges_name_needs_both_models(
    specreg: Run, made: Path, prompts: Path, tmp_path: Path
) -> None:
    """
    Nothing is guessed from a folder that does not say which models it joins.
    """
    shutil.copytree(made / "heads" / EDGE / NAME, tmp_path / "plain")

    found = specreg("evaluate", str(tmp_path / "plain"), "--prompts", str(prompts), "--source", "pico-draft")

    assert found.code == 2
    assert "--source" in found.err
