"""What memory is free: on a GPU by its driver, on the host by Linux and the control group this process lies in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch

PROC: Final = Path("/proc")
CGROUPS: Final = Path("/sys/fs/cgroup")
# Of a group of either version: its folder, its limit, what is used, and what of that Linux takes back by itself.
_VERSIONS: Final = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_bytes(device: torch.device) -> int | None:
    """What may still be taken there; None where nobody says.

    What torch has kept of a GPU for itself and holds nothing in is free to this process.
    """
    if device.type == "cpu":
        return host_free_bytes()
    if device.type != "cuda":
        return None
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + kept


def devices() -> list[torch.device]:
    """Where a model may be spread over: every GPU, then the host."""
    return [
        *(torch.device("cuda", index) for index in range(torch.cuda.device_count())),
        torch.device("cpu"),
    ]


def host_free_bytes(*, proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """The least of what Linux has available and what each control group above this process leaves; else None."""
    left = [*_available(proc), *_left_by_groups(proc, cgroups)]
    return min(left, default=None)


def _available(proc: Path) -> Iterator[int]:
    for line in _text(proc / "meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable" and value.split():
            yield int(value.split()[0]) * 1024


def _left_by_groups(proc: Path, cgroups: Path) -> Iterator[int]:
    """A group's path may be that outside a container: its parents are looked at up to the root."""
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        folder, limit, current, idle = _VERSIONS[bool(controllers)]
        root = cgroups / folder
        group = root / path.strip("/")
        for place in (group, *group.parents):
            if place.is_relative_to(root):
                yield from _left_by(place, limit, current, idle)


def _left_by(group: Path, limit: str, current: str, idle: str) -> Iterator[int]:
    most, used = _text(group / limit).strip(), _text(group / current).strip()
    if most.isdigit() and used.isdigit():  # 'max' is no limit
        stat = dict(line.split(" ", 1) for line in _text(group / "memory.stat").splitlines() if " " in line)
        yield max(int(most) - int(used) + int(stat.get(idle, 0)), 0)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):  # another system, or a group outside this container
        return ""
