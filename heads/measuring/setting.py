"""What a chain is run on here, as measurements are kept by it."""

from __future__ import annotations

import platform
from collections.abc import Sequence

import torch

from heads.bench.provenance import machine
from heads.cascade import Cascade
from registry.planning.setup import Engine, Setup

CPU = torch.device("cpu")


def setup_of(cascade: Cascade) -> Setup:
    """The setup of a loaded chain: device and engine are those of its target."""
    target = cascade.models[-1]
    return setup_on(target.device, [model.dtype for model in cascade.models], cascade.engines[-1])


def setup_on(device: torch.device, dtypes: Sequence[torch.dtype], engine: Engine) -> Setup:
    """The setup of models of these dtypes there; where the dtypes differ, each is told once, smallest model first."""
    names = dict.fromkeys(str(dtype).removeprefix("torch.") for dtype in dtypes)
    gpu = device.type == "cuda"
    return Setup(
        host=platform.node(),
        device=device.type,
        processor=torch.cuda.get_device_name(device) if gpu else machine(CPU)["processor"],
        threads=torch.get_num_threads(),
        dtype="+".join(names),
        engine=engine,
    )
