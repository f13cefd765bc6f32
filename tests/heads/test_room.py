"""What is free on the host, read from files as Linux has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from heads.room import host_free_bytes

MIB = 1 << 20


def host(tmp_path: Path, *, available_kib: int | None, groups: str = "") -> tuple[Path, Path]:
    """A /proc that tells so much, and the folder in which control groups are to be put."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    if available_kib is not None:
        (proc / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {available_kib} kB\n")
    (proc / "self" / "cgroup").write_text(groups)
    return proc, cgroups


def group(folder: Path, *, limit: str, used: int, idle: int, version: int) -> None:
    """A control group of that version."""
    most, current, name = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }[version]
    folder.mkdir(parents=True)
    (folder / most).write_text(f"{limit}\n")
    (folder / current).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{name} {idle}\n")


def test_without_a_limit_it_is_what_linux_has_available(tmp_path: Path) -> None:
    """
    A group whose limit is 'max' has none.
    """
    proc, cgroups = host(tmp_path, available_kib=2048, groups="0::/job\n")
    group(cgroups / "job", limit="max", used=MIB, idle=0, version=2)

    assert host_free_bytes(proc=proc, cgroups=cgroups) == 2 * MIB


@pytest.mark.parametrize(
    ("version", "line", "root"),
    [(2, "0::/outer/job", ""), (1, "4:cpu,cpuacct:/\n7:memory:/outer/job", "memory")],
    ids=["version 2", "version 1"],
)
def test_the_limit_of_a_group_above_counts(tmp_path: Path, version: int, line: str, root: str) -> None:
    """
    Its limit less what is used, with what Linux would take back of that.
    """
    proc, cgroups = host(tmp_path, available_kib=1 << 30, groups=f"{line}\n")
    group(cgroups / root / "outer", limit=str(64 * MIB), used=40 * MIB, idle=8 * MIB, version=version)

    assert host_free_bytes(proc=proc, cgroups=cgroups) == 32 * MIB


def test_a_system_that_says_nothing_is_unknown(tmp_path: Path) -> None:
    """
    No number at all is None, and never 0.
    """
    proc, cgroups = host(tmp_path, available_kib=None)

    assert host_free_bytes(proc=proc, cgroups=cgroups) is None
