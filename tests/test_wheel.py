"""What `pip install` of a built wheel brings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            folder,
            ROOT,
        ],
        check=True,
        capture_output=True,
    )
    (found,) = folder.glob("specreg-*.whl")
    return found


def test_holds_catalog_lock_types_and_family(wheel: Path) -> None:
    """
    All that the commands read is inside, and nothing of the tests.
    """
    names = set(zipfile.ZipFile(wheel).namelist())

    assert {
        "registry/catalog.yaml",
        "registry/catalog.lock",
        "registry/py.typed",
        "registry/store/migrations/env.py",
        "heads/bench/prompts.jsonl",
        "registry/store/migrations/versions/r0001_tables.py",
        "heads/py.typed",
        "heads/pico/pico-target/model.safetensors",
        "heads/pico/pico-little--to--pico-draft/exp-weight6-layer3/trainer_state.json",
    } <= names
    assert not any(name.startswith("tests/") for name in names)


def test_resolves_and_verifies_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """
    Unpacked elsewhere, `chain` and `verify` find the packaged catalog and lock.
    """
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    environment = os.environ | {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}

    def run(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "registry", *arguments],
            check=True,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
        ).stdout

    chain = json.loads(run("chain", "qwen3-0.6b", "qwen3-14b", "--json"))
    verified = json.loads(run("verify", "--models", "--json"))
    shown = json.loads(run("show", "pico-target", "--json"))["models"][0]
    rebuilt = json.loads(run("store", "rebuild", "--json"))  # makes the store by the packaged migrations

    assert chain["models"] == ["qwen3-0.6b", "qwen3-1.7b", "qwen3-14b"]
    assert verified["ok"] is True
    assert rebuilt["checkpoints"] == 6
    assert shown["path"].startswith(str(installed))
