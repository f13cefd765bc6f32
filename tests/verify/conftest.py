"""A machine that has downloaded one head from the hub of the tests, and the command line on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hub.conftest import CATALOG, EDGE, Machine, hub, machine

__all__ = ["hub", "machine"]

WEIGHTS = "model.safetensors"
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def installed(machine: Machine) -> Machine:
    """The machine with `a--to--b/run` on it, recorded."""
    machine.download()
    return machine


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """The hub's catalog as a file."""
    path = tmp_path / "catalog.yaml"
    path.write_text(CATALOG)
    return path


@pytest.fixture
def command(machine: Machine, catalog: Path) -> Command:
    """`specreg ...` as a process of its own, with the hub's catalog and the machine's folders."""

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "HF_ENDPOINT": machine.hub.endpoint,
            "SPECREG_CATALOG": str(catalog),
            **environ,
        }
        return subprocess.run(
            [sys.executable, "-m", "registry", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def spoil(machine: Machine, name: str = WEIGHTS) -> Path:
    """Flip the last bit of a file's blob, in place; returns the blob."""
    blob = (machine.snapshot / name).resolve()
    content = blob.read_bytes()
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return blob


def served(machine: Machine, name: str = WEIGHTS) -> bytes:
    """What the hub holds of the head."""
    return (machine.hub.root / "org/heads" / EDGE / name).read_bytes()
