"""Where a figure comes from: versions, machine and threads, so that it can be measured again."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import transformers

from heads.cascade import Cascade


def provenance(cascade: Cascade) -> dict[str, Any]:
    """What a benchmark ran on and with."""
    return machine(cascade.models[-1].device) | {
        "engines": list(cascade.engines),
        "dtype": [str(model.dtype).removeprefix("torch.") for model in cascade.models],
        "parameters": [model.num_parameters() for model in cascade.models],
    }


def machine(device: torch.device) -> dict[str, Any]:
    """What anything runs on here."""
    found: dict[str, Any] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "specreg": _version("specreg"),
        "commit": commit_of(Path(__file__).parent),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
        found["cuda"] = torch.version.cuda
        found["driver"] = _answer(
            "nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"
        )
    return found


def commit_of(folder: Path) -> str | None:
    """The commit that a folder's files are of, with "+changes" where any file of its repository differs from it.

    None where git keeps none of them: a folder may lie in somebody else's repository and be no part of it.
    """
    git = ("git", "-C", str(folder))
    if _answer(*git, "ls-files", ".") is None:
        return None
    return _answer(*git, "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty=+changes")


def _answer(*command: str) -> str | None:
    """One line that another program says, or None where it is not here or has nothing to say."""
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
