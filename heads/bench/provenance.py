"""Where a figure comes from: versions, machine and threads, so that it can be measured again."""

from __future__ import annotations

import os
import platform
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
    return found


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
