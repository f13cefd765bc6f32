"""What the README shows runs as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import registry
from tests.conftest import Outcome
from tests.hub.server import LocalHub
from tests.registry.stored import write_head

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SECTIONS = {
    section.partition("\n")[0]: [
        line for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) for line in block.splitlines()
    ]
    for section in re.split(r"^##+ ", README, flags=re.MULTILINE)[1:]
}
COMMANDS = [line for lines in SECTIONS.values() for line in lines]
EVERYDAY = {
    title: found
    for title, lines in SECTIONS.items()
    if (found := [line for line in lines if line.startswith(("specreg ", "python -c "))])
}
SET_UP = [line for line in COMMANDS if line.startswith("python3 -m venv")]
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
# run in this process: a start of each takes seconds
LOADS_TORCH = {"bench", "calibrate", "convert", "decode", "doctor", "evaluate", "measure", "train", "tune"}
PUBLISHED = "ArcticHuaji/specdecpp-acc-heads"
RUN = "exp-weight6-layer3"


def test_two_lines_set_up() -> None:
    """
    One line installs and runs the main job, one installs and passes the tests.
    """
    assert len(SET_UP) == 2
    assert "specreg decode pico-little pico-target" in SET_UP[0]
    assert SET_UP[1].endswith("python -m tests")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    """A hub with the published heads, their one block shared, and one chain's models, all of their right widths."""
    root = tmp_path_factory.mktemp("readme") / "served"
    catalog = registry.load_catalog()
    models = catalog.models
    for head in catalog.heads:
        if head.from_ == "specdecpp":
            write_width(root / PUBLISHED / head.folder, models[head.source].hidden_size or 0, shared=True)
    for alias in ("qwen3-0.6b", "qwen3-1.7b", "qwen3-14b"):
        folder = root / (models[alias].hub or "")
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"hidden_size": models[alias].hidden_size}))
        (folder / "model.safetensors").write_bytes(b"weights that nobody reads here")
    with LocalHub(root) as hub:
        yield hub


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder of a user's, with heads of their own, one of them a pickle."""
    folder = tmp_path / "workplace"
    width = registry.load_catalog().models["qwen3-0.6b"].hidden_size or 0
    write_width(folder / "my-heads" / "qwen3-0.6b--to--qwen3-14b" / RUN, width)
    old = folder / "my-heads" / "qwen3-0.6b--to--qwen3-1.7b" / "old-layer3"
    write_width(old, width)
    torch.save(load_file(old / "model.safetensors"), old / "pytorch_model.bin")
    (old / "model.safetensors").unlink()
    return folder


def write_width(folder: Path, width: int, *, shared: bool = False) -> None:
    """A head of three blocks that says nothing, in half precision."""
    tensors, metadata = {}, {"format": "pt"}
    for block in range(3):
        for kind, shape in (("weight", (width, width)), ("bias", (width,))):
            if shared and block:
                metadata[f"model.{block}.linear.{kind}"] = f"model.0.linear.{kind}"
            else:
                tensors[f"model.{block}.linear.{kind}"] = np.zeros(shape, "f2")
    tensors |= {"model.3.weight": np.zeros((2, width), "f2"), "model.3.bias": np.zeros(2, "f2")}
    write_head(folder, tensors=tensors, metadata=metadata, config={"hidden_size": width, "num_layers": 3})


@pytest.mark.parametrize("title", EVERYDAY)
def test_everyday_commands_run(
    title: str,
    served: LocalHub,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    specreg: Callable[..., Outcome],
) -> None:
    """
    The lines of a section, copied one after the other into a shell, each end with 0 and print something.
    """
    monkeypatch.setenv("HF_ENDPOINT", served.endpoint)
    monkeypatch.chdir(workplace)
    for line in EVERYDAY[title]:
        program, *arguments = shlex.split(line)
        here = program == "specreg" and arguments[0] in LOADS_TORCH
        found = specreg(*arguments) if here else in_a_process(program, *arguments)

        assert found.code == 0, (line, found.out, found.err)
        assert found.out + found.err or program == "python"


def in_a_process(program: str, *arguments: str) -> Outcome:
    """A line of a section in an interpreter of its own."""
    ended = subprocess.run(
        [sys.executable, *(("-m", "registry") if program == "specreg" else ()), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    return Outcome(code=ended.returncode, out=ended.stdout, err=ended.stderr)


def test_programs_run(tmp_path: Path) -> None:
    """
    The Python examples run in a fresh interpreter, outside the checkout, each with no names but its own.
    """
    every = "import json, sys\nfor program in json.loads(sys.argv[1]): exec(program, {})"
    assert len(PROGRAMS) == README.count("```python")

    ended = subprocess.run(
        [sys.executable, "-c", every, json.dumps(PROGRAMS)], check=False, cwd=tmp_path, capture_output=True
    )

    assert ended.returncode == 0, ended.stderr.decode()


def test_the_catalog_example_is_a_catalog(tmp_path: Path) -> None:
    """
    The YAML of 'Your own catalog' loads and makes its chain.
    """
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "catalog.yaml").write_text(example)

    pipeline = registry.resolve_pipeline(
        "qwen3-0.6b", "qwen3-14b", length=2, catalog=tmp_path / "catalog.yaml"
    )

    assert pipeline.models == ("qwen3-0.6b", "qwen3-14b")


def test_the_familys_figures_are_those_measured() -> None:
    """
    Every number of the family's two tables stands in the evaluation that was shipped with the files.
    """
    pico = ROOT / "heads" / "pico"
    models = dict(re.findall(r"\| (pico-\w+) \| .*? \| ([0-9.]+) \|\n", README))
    heads = re.findall(
        r"\| (pico-\w+) -> (pico-\w+) \| ([0-9.]+) \| ([0-9.]+) \| ([0-9.]+) \| ([0-9.]+) \|", README
    )

    assert len(models) == 3
    for name, nats in models.items():
        measured = json.loads((pico / name / "evaluation.json").read_text())
        assert nats == f"{measured['held_out_nats_per_byte']:.3f}"
    assert len(heads) == 3
    for source, target, *figures in heads:
        file = pico / f"{source}--to--{target}" / "exp-weight6-layer3" / "evaluation.json"
        measured = json.loads(file.read_text())
        keys = ("acceptance", "greedy_agreement", "auc", "ece_unweighted")
        assert figures == [f"{measured[key]:.3f}" for key in keys]
