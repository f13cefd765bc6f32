"""Where the models of a chain lie, and whether they fit there: judged before any weight is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import torch
from transformers.utils.import_utils import is_accelerate_available

from heads.engines.choice import Engine
from heads.memory import Memory, readable
from heads.room import devices, free_bytes
from heads.sizes import head_bytes, model_sizes
from registry.errors import UsageError

if TYPE_CHECKING:
    from registry.pipeline import Pipeline

AUTO: Final = "auto"
HALF: Final = torch.bfloat16
SHORTEST: Final = 2  # a token to begin with, and one more


@dataclass(frozen=True, kw_only=True)
class Remedies:
    """What a command lets its user do where memory does not suffice, beside another dtype or engine.

    Attributes:
        spread: It has --device-map.
        length: Its option that says how long texts are; None where it has none.
        before: Positions that this option does not count: of the prompt, where it counts new tokens.
        shortest: Positions of the shortest text that is of use.
    """

    spread: bool = True
    length: str | None = "--max-length"
    before: int = 0
    shortest: int = SHORTEST

    @classmethod
    def of_prompts(cls, longest: int) -> Remedies:
        """Of a command that has prompts, the longest of so many tokens, and --max-new-tokens."""
        return cls(spread=False, length="--max-new-tokens", before=longest, shortest=longest + 1)

    def shorter(self, positions: int) -> list[str]:
        """How to ask for texts of so many positions, if they are of use and there is a way."""
        return (
            [f"{self.length} {positions - self.before}"] if self.length and positions >= self.shortest else []
        )


REMEDIES: Final = Remedies()
NO_LENGTH: Final = Remedies(spread=False, length=None)  # of a command whose texts have a length of their own


@dataclass(frozen=True, kw_only=True)
class Placement:
    """One device for all; or several, of which the first holds all but the target, and the target begins there."""

    devices: tuple[torch.device, ...]
    spread: bool = False

    @property
    def first(self) -> torch.device:
        """Where drafts and heads lie."""
        return self.devices[0]

    @property
    def free(self) -> dict[str, int | None]:
        """Device -> bytes that are free there now."""
        return {str(device): free_bytes(device) for device in self.devices}

    def within(self, memory: Memory) -> dict[int | str, int] | None:
        """What the target's weights may take of each device, as transformers names them; the rest needs its own room.

        Asked when all else is loaded. None leaves it to transformers, where nobody says what is free.
        """
        found: dict[int | str, int] = {}
        for device, free in zip(self.devices, self.free.values(), strict=True):
            if free is None:
                return None
            on_cuda = device.type == "cuda"
            kept = memory.caches_bytes + memory.rest_bytes if on_cuda or device == self.first else 0
            found[device.index if on_cuda else device.type] = max(free - kept, 0)
        return found


def spread_placement(device: str | torch.device | None, device_map: str) -> Placement:
    """Every GPU and the host, for a target that transformers' device_map="auto" spreads.

    Raises:
        UsageError: another map, a device beside it, or accelerate is missing, which transformers spreads with.
    """
    if device_map != AUTO:
        raise UsageError(f"device_map must be {AUTO!r} or left out, got {device_map!r}.")
    if device is not None:
        raise UsageError(
            f"--device-map {AUTO} chooses among all devices, and --device {device} names one. Give one or the other."
        )
    if not is_accelerate_available():
        raise UsageError(
            f"--device-map {AUTO} needs the package accelerate, which is not here. `pip install accelerate` brings it."
        )
    return Placement(devices=tuple(devices()), spread=True)


def chain_memory(
    pipeline: Pipeline,
    placement: Placement,
    *,
    dtype: torch.dtype | str,
    engine: Engine | None,
    positions: int | None,
    max_draft: int,
) -> Memory:
    """What a chain needs there, from its recorded configs and the headers of its files.

    Raises:
        NotInstalledError: a model or head is not on this machine.
        CheckpointError: no record, or a config or header that cannot be read.
    """
    shelf = pipeline.shelf
    return Memory(
        models=tuple(model_sizes(shelf, model) for model in pipeline.chain.models),
        heads={head.name: head_bytes(shelf, head) for head in pipeline.chain.heads},
        dtype=dtype if isinstance(dtype, torch.dtype) else None,
        engine=engine or ("captured" if placement.first.type == "cuda" else "eager"),
        positions=0,
        max_draft=max_draft,
        free=placement.free,
    ).for_text(positions)


def require_room(
    memory: Memory,
    *,
    remedies: Remedies = REMEDIES,
    everywhere: Mapping[str, int | None] | None = None,
) -> None:
    """Refuse what does not fit, and say what would.

    Args:
        memory: Of the chain.
        remedies: Whatever is advised is one of these.
        everywhere: Device -> bytes that are free, of all devices; what is here now when None.

    Raises:
        UsageError: it does not fit.
    """
    if memory.fits:
        return
    lacking = f"{memory.name} needs {readable(memory.needed_bytes)}, got {memory.told_free}"
    first, free = next(iter(memory.free.items()))
    if free is not None and memory.beside_bytes > free and len(memory.free) > 1:
        beside = readable(memory.beside_bytes)
        lacking += f", and {beside} beside the target's weights, got {readable(free)} free on {first}"
    if everywhere is None:
        everywhere = Placement(devices=tuple(devices()), spread=True).free
    ways = _ways(memory, remedies, everywhere)
    step = (
        f"It fits with {' or '.join(ways)}."
        if ways
        else "Choose a shorter chain, or a machine with more memory."
    )
    raise UsageError(f"{lacking} ({memory.parts}). Nothing was loaded. {step}")


def _ways(memory: Memory, remedies: Remedies, everywhere: Mapping[str, int | None]) -> list[str]:
    """Options with which it fits, each by itself; where none is enough, a smaller dtype with a shorter text."""
    smaller = replace(memory, dtype=HALF)
    halved = "--dtype bfloat16"
    found = []
    if smaller.needed_bytes < memory.needed_bytes and smaller.fits:
        found.append(f"{halved} ({readable(smaller.needed_bytes)})")
    gpu = next(iter(memory.free)).startswith("cuda")
    lighter = replace(memory, engine="captured" if gpu else "eager")  # without copies of weights
    if memory.packed_bytes and lighter.fits:
        found.append(f"--engine {lighter.engine} ({readable(lighter.needed_bytes)})")
    spread = replace(memory, free=everywhere)
    if remedies.spread and len(everywhere) > 1 and len(memory.free) == 1 and spread.fits:
        found.append(f"--device-map {AUTO} ({spread.told_free})")
    found += remedies.shorter(memory.longest())
    return found or [f"{halved} {shorter}" for shorter in remedies.shorter(smaller.longest())]
