"""What models are run on, and how: measurements of one setup say nothing of another."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, TypedDict

from pydantic import Field

from registry.records import Record

Engine = Literal["eager", "captured", "fused"]
STORED: Final = "stored"
ALSO: Final = "+"  # between the dtypes of models that do not have one and the same
DEVICE_TYPES: Final = (
    "cpu|cuda|mps|xpu|hpu|xla|hip|mtia|maia|ipu|ve|fpga|"
    "vulkan|opengl|opencl|mkldnn|ideep|lazy|meta|privateuseone"
)
"""As torch names them, who would have to be imported to be asked."""

_DEVICE: Final = re.compile(rf"(?:{DEVICE_TYPES})(?::(?:0|[1-9][0-9]*))?")


def is_device(name: object) -> bool:
    """Whether torch takes it for the name of a device, there or not.

    >>> is_device("cuda:1"), is_device("mps"), is_device("cdua"), is_device("CPU"), is_device("cuda:")
    (True, True, False, False, False)
    """
    return isinstance(name, str) and _DEVICE.fullmatch(name) is not None


class Loading(TypedDict, total=False):
    """Options of `Pipeline.load` that decide what a setup is."""

    device: str
    dtype: str
    engine: str


class Setup(Record):
    """A device of a machine, and how models are run there.

    `processor` is the name of the GPU, or of the CPU with `threads` threads at work; `device` is 'cpu', or 'cuda'
    whatever the card's number. `dtype` is that of the models, 'float32' for instance; where each keeps its own it is
    'stored', or all of them, 'bfloat16+float32'.
    """

    host: str
    device: str
    processor: str
    threads: Annotated[int, Field(gt=0)]
    dtype: str
    engine: Engine

    @property
    def key(self) -> str:
        """One text per setup, in which nothing is left out."""
        return " | ".join(
            [self.host, self.device, self.processor, f"{self.threads} threads", self.dtype, self.engine]
        )

    @property
    def loading(self) -> Loading:
        """How to load models so that they run in this setup."""
        found = Loading(device=self.device, engine=self.engine)
        if self.dtype != STORED and ALSO not in self.dtype:
            found["dtype"] = self.dtype
        return found

    def __str__(self) -> str:
        """For people."""
        threads = f", {self.threads} thread{'s' if self.threads != 1 else ''}" if self.device == "cpu" else ""
        return f"{self.processor} ({self.device}{threads}), {self.dtype}, {self.engine}"
