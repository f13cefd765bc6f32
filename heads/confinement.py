"""What a process gives up for good before it reads a pickle.

On Linux, without any privilege:

| given up | by |
|---|---|
| opening anything, files and sockets alike | RLIMIT_NOFILE 0; its three pipes stay open |
| growing files, core dumps | RLIMIT_FSIZE 0, RLIMIT_CORE 0 |
| starting processes and threads | RLIMIT_NPROC 0 |
| memory past a budget | RLIMIT_AS: what it takes now, and the budget |
| time | RLIMIT_CPU, and an alarm by the clock, whose signals nobody here handles |
| gaining privileges by running another program | PR_SET_NO_NEW_PRIVS |
| being read or steered by another process of the same user | PR_SET_DUMPABLE 0 |

Run as root, it becomes a user that owns nothing first, because limits do not bind root. Where the kernel lets users
make namespaces, it also moves to a network and a root folder of its own, both empty, and drops every
capability. Where it does not (some containers), paths can still be named and this user's processes signalled:
were anything ever executed, it could make a folder, remove a file or end a program, and read nothing.

macOS has no namespaces, no prctl and no bound on address space: files, processes and time are limited there,
memory is not. Windows has none of it: there a process of its own, without the parent's environment, and the
parent's clock are all there is. What keeps a pickle from executing anything is not here but in torch's restricted
unpickler; this is for the day when that fails.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Final

if sys.platform != "win32":
    import resource

NOBODY: Final = 65534
PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000
CAPABILITY_VERSION: Final = 0x20080522


def seal(*, memory_bytes: int, cpu_s: int, wall_s: float) -> None:
    """Give up all of the table above. Files that are to be read or imported must have been before.

    Args:
        memory_bytes: Memory it may take beyond what it has now.
        cpu_s: Processor seconds from now on.
        wall_s: Seconds by the clock from now on.

    Raises:
        OSError, ValueError: a limit that this system has could not be set.
    """
    if sys.platform == "win32":
        return
    signal.setitimer(signal.ITIMER_REAL, wall_s)
    taken = _address_space()
    if os.geteuid() == 0:
        _leave_root()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        _move_out(libc)
        for option, value in ((PR_SET_NO_NEW_PRIVS, 1), (PR_SET_DUMPABLE, 0)):
            if libc.prctl(option, value, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "prctl")
    _limit(None if taken is None else taken + memory_bytes, cpu_s)


def _leave_root() -> None:
    # in a namespace that maps one user only there is nobody else to become
    with contextlib.suppress(OSError):
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def _move_out(libc: ctypes.CDLL) -> None:
    """Into a network without devices and a root that is the present, empty folder, where the kernel allows it."""
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        return
    with contextlib.suppress(OSError):
        os.chroot(".")
        os.chdir("/")
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    none = (ctypes.c_uint32 * 6)()
    if libc.capset(header, none) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _limit(address_space: int | None, cpu_s: int) -> None:
    if sys.platform == "win32":
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime) + 1 + cpu_s
    limits = {
        resource.RLIMIT_CPU: until,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: 0,
    }
    if address_space is not None:
        limits[resource.RLIMIT_AS] = address_space
    for limit, value in limits.items():
        hard = (
            value + 1 if limit == resource.RLIMIT_CPU else value
        )  # the second signal is one nobody can catch
        resource.setrlimit(limit, (value, hard))


def _address_space() -> int | None:
    """Bytes of address space taken now; None where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_bytes().split()[0]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
