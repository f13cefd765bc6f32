"""What the README shows runs as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import registry
from tests.conftest import Outcome

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()
]
EVERYDAY = [line for line in COMMANDS if line.startswith("specreg ")]
SET_UP = [line for line in COMMANDS if line.startswith("python3 -m venv")]
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
NEEDS_THE_HUB = ("specreg download",)


def test_two_lines_set_up() -> None:
    """
    One line installs and runs the main job, one installs and passes the tests.
    """
    assert len(SET_UP) == 2
    assert "specreg decode pico-little pico-target" in SET_UP[0]
    assert SET_UP[1].endswith("python -m tests")


@pytest.mark.parametrize("line", [line for line in EVERYDAY if not line.startswith(NEEDS_THE_HUB)])
def test_everyday_commands_run(specreg: Callable[..., Outcome], line: str) -> None:
    """
    Every line to copy ends with 0 and prints something.
    """
    found = specreg(*shlex.split(line)[1:])

    assert found.code == 0, found.err
    assert found.out


@pytest.mark.parametrize(
    "program", PROGRAMS, ids=[f"program {number}" for number, _ in enumerate(PROGRAMS, 1)]
)
def test_programs_run(program: str, tmp_path: Path) -> None:
    """
    Every Python example runs in a fresh interpreter, outside the checkout.
    """
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, capture_output=True)


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
