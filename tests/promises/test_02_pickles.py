"""Promise 2: a pickle is opened in the sandbox alone, and nothing in it is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import registry
from registry.errors import CheckpointError
from tests.convert.attack import Outcome, attack
from tests.convert.payloads import PASS, PAYLOADS, RUN, write
from tests.convert.rooms import warm
from tests.pipeline.models import WEIGHTS, folder_model, lock, set_config

pytestmark = [
    pytest.mark.promises,
    pytest.mark.skipif(sys.platform == "win32", reason="the limits are those of POSIX"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
]
ROOT = Path(__file__).parent.parent.parent
MOST_BYTES = 500_000_000
MOST_S = 10.0


def planted(place: Path, names: Sequence[str], canary: Path) -> None:
    """A folder for each payload."""
    for name in names:
        write(place / name.replace(" ", "-"), PAYLOADS[name](canary))


def test_no_payload_is_run(
    tmp_path: Path, in_full: bool, times: Callable[[int, int], int], figure: Callable[[int, str], None]
) -> None:
    """
    Every payload is refused with its reason, nothing it says is done, and its parent stays small.
    """
    canary, place = tmp_path / "canary", tmp_path / "payloads"
    quick = [*list(RUN)[:8], *list(PASS)[:4]]
    names = (list(PAYLOADS) if in_full else quick)[: times(len(PAYLOADS), len(quick))]
    planted(place, names, canary)

    if in_full:
        outcomes, peak = _in_a_process_of_its_own(place)
    else:
        outcomes, peak = [attack(folder, warm()) for folder in sorted(place.iterdir())], None

    assert [outcome["name"] for outcome in outcomes if not outcome["refused"]] == []
    assert not canary.exists()
    assert peak is None or peak < MOST_BYTES
    slowest = max(outcome["seconds"] for outcome in outcomes)
    assert slowest < MOST_S
    start = max(outcome["start_s"] for outcome in outcomes)
    told = "" if peak is None else f", parent at most {peak / 1e6:.0f} MB"
    figure(
        2,
        f"{len(outcomes)} payloads: 0 executions{told}, slowest {slowest:.1f} s"
        f" (and at most {start:.1f} s for a new process)",
    )


def _in_a_process_of_its_own(place: Path) -> tuple[list[Outcome], int]:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.convert.attack", str(place)],
        cwd=ROOT,
        env=os.environ,
        stdout=subprocess.PIPE,
        check=True,
    )
    document = json.loads(ended.stdout)
    return document["outcomes"], document["peak_bytes"]


@pytest.mark.parametrize("content", ["a trap", "sound"])
def test_a_base_models_pickle_is_not_opened(tmp_path: Path, content: str) -> None:
    """
    A model that lies here as a pickle alone is refused before anything is loaded, however sound the pickle is.
    """
    folder, catalog = folder_model(tmp_path)
    pickle, canary = folder / "pytorch_model.bin", tmp_path / "canary"
    torch.save(load_file(folder / WEIGHTS), pickle)
    if content == "a trap":
        pickle.write_bytes(RUN["os.system"](canary))
    (folder / WEIGHTS).unlink()
    lock(catalog)

    with pytest.raises(
        CheckpointError, match=r"expected model\.safetensors.*got pytorch_model\.bin, a pickle"
    ):
        registry.resolve_pipeline("mine", "mine", catalog=catalog).load(device="cpu")

    assert not canary.exists()


def test_a_config_cannot_choose_a_pickle_for_its_weights(tmp_path: Path) -> None:
    """
    The one name of a pickle that transformers takes from config.json leads to no file, though one is recorded.
    """
    folder, catalog = folder_model(tmp_path)
    torch.save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    set_config(folder, transformers_weights="adapter_model.bin")
    lock(catalog)

    with pytest.raises(CheckpointError, match="transformers does not load it"):
        registry.resolve_pipeline("mine", "mine", catalog=catalog).load(device="cpu")


def test_code_beside_a_base_model_is_not_run(tmp_path: Path) -> None:
    """
    A config that asks for a model of its own code is refused, recorded or not.
    """
    folder, catalog = folder_model(tmp_path)
    canary = tmp_path / "canary"
    (folder / "own_code.py").write_text(f"open({str(canary)!r}, 'w').close()\n")
    set_config(
        folder,
        model_type="own",
        auto_map={"AutoConfig": "own_code.Config", "AutoModelForCausalLM": "own_code.Model"},
    )
    lock(catalog)

    with pytest.raises(CheckpointError, match="transformers does not load it"):
        registry.resolve_pipeline("mine", "mine", catalog=catalog).load(device="cpu")

    assert not canary.exists()
